// SPDX-License-Identifier: Apache-2.0
#pragma once
// The numbers and layouts of WASI preview 1 (wasi_snapshot_preview1), as its specification fixes them.
//
// Structures have their padding as members, so that no byte of the host's memory reaches a guest by it.

#include <cstddef>
#include <cstdint>

namespace dormouse::wasi {

using Fd = std::uint32_t;
using Timestamp = std::uint64_t;  // Nanoseconds.

enum class Errno : std::uint16_t {
  Success = 0, TooBig = 1, Acces = 2, AddrInUse = 3, AddrNotAvail = 4, AfNoSupport = 5, Again = 6, Already = 7,
  BadF = 8, BadMsg = 9, Busy = 10, Canceled = 11, Child = 12, ConnAborted = 13, ConnRefused = 14, ConnReset = 15,
  DeadLk = 16, DestAddrReq = 17, Dom = 18, DQuot = 19, Exist = 20, Fault = 21, FBig = 22, HostUnreach = 23,
  IdRm = 24, IlSeq = 25, InProgress = 26, Intr = 27, Inval = 28, Io = 29, IsConn = 30, IsDir = 31,
  Loop = 32, MFile = 33, MLink = 34, MsgSize = 35, MultiHop = 36, NameTooLong = 37, NetDown = 38, NetReset = 39,
  NetUnreach = 40, NFile = 41, NoBufs = 42, NoDev = 43, NoEnt = 44, NoExec = 45, NoLck = 46, NoLink = 47,
  NoMem = 48, NoMsg = 49, NoProtoOpt = 50, NoSpc = 51, NoSys = 52, NotConn = 53, NotDir = 54, NotEmpty = 55,
  NotRecoverable = 56, NotSock = 57, NotSup = 58, NotTty = 59, NxIo = 60, Overflow = 61, OwnerDead = 62, Perm = 63,
  Pipe = 64, Proto = 65, ProtoNoSupport = 66, Prototype = 67, Range = 68, RoFs = 69, SPipe = 70, Srch = 71,
  Stale = 72, TimedOut = 73, TxtBsy = 74, XDev = 75, NotCapable = 76,
};

// What may be done with a descriptor.
using Rights = std::uint64_t;
namespace rights {
inline constexpr Rights kFdDatasync = 1 << 0;
inline constexpr Rights kFdRead = 1 << 1;
inline constexpr Rights kFdSeek = 1 << 2;  // Includes kFdTell.
inline constexpr Rights kFdFdstatSetFlags = 1 << 3;
inline constexpr Rights kFdSync = 1 << 4;
inline constexpr Rights kFdTell = 1 << 5;
inline constexpr Rights kFdWrite = 1 << 6;
inline constexpr Rights kFdAdvise = 1 << 7;
inline constexpr Rights kFdAllocate = 1 << 8;
inline constexpr Rights kPathCreateDirectory = 1 << 9;
inline constexpr Rights kPathCreateFile = 1 << 10;
inline constexpr Rights kPathLinkSource = 1 << 11;
inline constexpr Rights kPathLinkTarget = 1 << 12;
inline constexpr Rights kPathOpen = 1 << 13;
inline constexpr Rights kFdReaddir = 1 << 14;
inline constexpr Rights kPathReadlink = 1 << 15;
inline constexpr Rights kPathRenameSource = 1 << 16;
inline constexpr Rights kPathRenameTarget = 1 << 17;
inline constexpr Rights kPathFilestatGet = 1 << 18;
inline constexpr Rights kPathFilestatSetSize = 1 << 19;
inline constexpr Rights kPathFilestatSetTimes = 1 << 20;
inline constexpr Rights kFdFilestatGet = 1 << 21;
inline constexpr Rights kFdFilestatSetSize = 1 << 22;
inline constexpr Rights kFdFilestatSetTimes = 1 << 23;
inline constexpr Rights kPathSymlink = 1 << 24;
inline constexpr Rights kPathRemoveDirectory = 1 << 25;
inline constexpr Rights kPathUnlinkFile = 1 << 26;
inline constexpr Rights kPollFdReadwrite = 1 << 27;
inline constexpr Rights kSockShutdown = 1 << 28;
inline constexpr Rights kSockAccept = 1 << 29;
inline constexpr Rights kAll = (Rights{1} << 30) - 1;

// Those that mean something for a type of file.
inline constexpr Rights kRegularFile = kFdDatasync | kFdRead | kFdSeek | kFdFdstatSetFlags | kFdSync | kFdTell | kFdWrite | kFdAdvise |
                                       kFdAllocate | kFdFilestatGet | kFdFilestatSetSize | kFdFilestatSetTimes | kPollFdReadwrite;
inline constexpr Rights kDirectory = kFdFdstatSetFlags | kFdDatasync | kFdSync | kFdAdvise | kPathCreateDirectory | kPathCreateFile | kPathLinkSource |
                                     kPathLinkTarget | kPathOpen | kFdReaddir | kPathReadlink | kPathRenameSource | kPathRenameTarget |
                                     kPathFilestatGet | kPathFilestatSetSize | kPathFilestatSetTimes | kFdFilestatGet | kFdFilestatSetTimes |
                                     kPathSymlink | kPathRemoveDirectory | kPathUnlinkFile;
inline constexpr Rights kStreamImplied = kFdFdstatSetFlags | kFdFilestatGet | kPollFdReadwrite | kSockShutdown | kSockAccept;
inline constexpr Rights kStream = kStreamImplied | kFdRead | kFdWrite;
}  // namespace rights

enum class Filetype : std::uint8_t {
  Unknown = 0, BlockDevice = 1, CharacterDevice = 2, Directory = 3, RegularFile = 4, SocketDgram = 5, SocketStream = 6, SymbolicLink = 7,
};

enum class ClockId : std::uint32_t { Realtime = 0, Monotonic = 1, ProcessCpuTime = 2, ThreadCpuTime = 3 };
enum class Whence : std::uint8_t { Set = 0, Current = 1, End = 2 };
enum class Advice : std::uint8_t { Normal = 0, Sequential = 1, Random = 2, WillNeed = 3, DontNeed = 4, NoReuse = 5 };
enum class Eventtype : std::uint8_t { Clock = 0, FdRead = 1, FdWrite = 2 };

// Sets of flags; kXAll is all that the specification knows.
inline constexpr std::uint32_t kFdflagsAppend = 1, kFdflagsDsync = 2, kFdflagsNonblock = 4, kFdflagsRsync = 8, kFdflagsSync = 16, kFdflagsAll = 31;
inline constexpr std::uint32_t kOflagsCreat = 1, kOflagsDirectory = 2, kOflagsExcl = 4, kOflagsTrunc = 8, kOflagsAll = 15;
inline constexpr std::uint32_t kLookupflagsSymlinkFollow = 1, kLookupflagsAll = 1;
inline constexpr std::uint32_t kFstflagsAtim = 1, kFstflagsAtimNow = 2, kFstflagsMtim = 4, kFstflagsMtimNow = 8, kFstflagsAll = 15;
inline constexpr std::uint32_t kSubclockflagsAbstime = 1, kSubclockflagsAll = 1;
inline constexpr std::uint16_t kEventrwflagsHangup = 1;
inline constexpr std::uint32_t kRiflagsRecvPeek = 1, kRiflagsRecvWaitall = 2, kRiflagsAll = 3;
inline constexpr std::uint32_t kSdflagsRd = 1, kSdflagsWr = 2, kSdflagsAll = 3;
inline constexpr std::uint8_t kPreopentypeDir = 0;

struct Iovec {
  std::uint32_t buffer;
  std::uint32_t length;
};
static_assert(sizeof(Iovec) == 8);

struct Prestat {
  std::uint8_t tag = kPreopentypeDir;
  std::uint8_t padding[3] = {};
  std::uint32_t name_length = 0;
};
static_assert(sizeof(Prestat) == 8 && offsetof(Prestat, name_length) == 4);

struct Fdstat {
  Filetype filetype = Filetype::Unknown;
  std::uint8_t padding0 = 0;
  std::uint16_t flags = 0;
  std::uint32_t padding1 = 0;
  Rights rights_base = 0;
  Rights rights_inheriting = 0;
};
static_assert(sizeof(Fdstat) == 24 && offsetof(Fdstat, flags) == 2 && offsetof(Fdstat, rights_base) == 8 && offsetof(Fdstat, rights_inheriting) == 16);

struct Filestat {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  Filetype filetype = Filetype::Unknown;
  std::uint8_t padding[7] = {};
  std::uint64_t links = 0;
  std::uint64_t size = 0;
  Timestamp accessed = 0;
  Timestamp modified = 0;
  Timestamp changed = 0;
};
static_assert(sizeof(Filestat) == 64 && offsetof(Filestat, filetype) == 16 && offsetof(Filestat, links) == 24 && offsetof(Filestat, size) == 32 &&
              offsetof(Filestat, accessed) == 40 && offsetof(Filestat, modified) == 48 && offsetof(Filestat, changed) == 56);

struct Dirent {
  std::uint64_t next = 0;
  std::uint64_t inode = 0;
  std::uint32_t name_length = 0;
  Filetype filetype = Filetype::Unknown;
  std::uint8_t padding[3] = {};
};
static_assert(sizeof(Dirent) == 24 && offsetof(Dirent, inode) == 8 && offsetof(Dirent, name_length) == 16 && offsetof(Dirent, filetype) == 20);

struct SubscriptionClock {
  ClockId id;
  std::uint32_t padding0;
  Timestamp timeout;
  Timestamp precision;
  std::uint16_t flags;
  std::uint16_t padding1[3];
};
struct Subscription {
  std::uint64_t userdata;
  Eventtype type;
  std::uint8_t padding[7];
  union {
    SubscriptionClock clock;
    Fd fd;
  };
};
static_assert(sizeof(Subscription) == 48 && offsetof(Subscription, type) == 8 && offsetof(Subscription, clock) == 16 && offsetof(Subscription, fd) == 16);
static_assert(offsetof(SubscriptionClock, timeout) == 8 && offsetof(SubscriptionClock, precision) == 16 && offsetof(SubscriptionClock, flags) == 24);

struct Event {
  std::uint64_t userdata = 0;
  Errno error = Errno::Success;
  Eventtype type = Eventtype::Clock;
  std::uint8_t padding0[5] = {};
  std::uint64_t bytes = 0;
  std::uint16_t flags = 0;
  std::uint16_t padding1[3] = {};
};
static_assert(sizeof(Event) == 32 && offsetof(Event, error) == 8 && offsetof(Event, type) == 10 && offsetof(Event, bytes) == 16 && offsetof(Event, flags) == 24);

}  // namespace dormouse::wasi
