// SPDX-License-Identifier: Apache-2.0
//! Signals on WASI: the host writes each signal's number as one byte into the stream `/run/signals`.
//!
//! The API is that of the Unix module, so programs written for it compile unchanged.

use std::io;
use std::sync::Mutex;
use std::task::{Poll, Waker};

/// How often each signal arrived, and who waits. `reading` says whether a task reads the stream.
struct Arrivals {
    counts: [u64; unix::NUMBERS],
    waiting: Vec<(u64, Waker)>,
    next_id: u64,
    reading: bool,
}

static ARRIVALS: Mutex<Arrivals> =
    Mutex::new(Arrivals { counts: [0; unix::NUMBERS], waiting: Vec::new(), next_id: 0, reading: false });

fn arrivals() -> std::sync::MutexGuard<'static, Arrivals> {
    ARRIVALS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Completes when the host asks the program to stop: on SIGINT, and on SIGTERM too, for programs that look for
/// SIGTERM only on Unix would otherwise never see the one signal that a pod gets.
pub async fn ctrl_c() -> io::Result<()> {
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    std::future::poll_fn(|cx| {
        let came = interrupt.poll_recv(cx).is_ready() || terminate.poll_recv(cx).is_ready();
        if came { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// Reads the stream until the runtime that runs it goes away; then the next `signal` starts another.
#[cfg(all(feature = "rt", feature = "net"))]
fn start_reading() -> io::Result<()> {
    struct Reading;
    impl Drop for Reading {
        fn drop(&mut self) {
            arrivals().reading = false;
        }
    }
    {
        let mut arrivals = arrivals();
        if arrivals.reading {
            return Ok(());
        }
        arrivals.reading = true;
    }
    let reading = Reading;
    let stream = match crate::net::tcp::wasi::open("/run/signals") {
        Ok(stream) => crate::net::TcpStream::from_std(stream)?,
        // A host without that stream sends no signals: as on any system, waiting for one then takes for ever.
        Err(_) => return Ok(()),
    };
    crate::spawn(async move {
        let _reading = reading;
        let mut bytes = [0; 16];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(n) => {
                    let mut arrivals = arrivals();
                    for byte in &bytes[..n] {
                        if let Some(count) = arrivals.counts.get_mut(usize::from(*byte)) {
                            *count += 1;
                        }
                    }
                    let waiting = std::mem::take(&mut arrivals.waiting);
                    drop(arrivals);
                    waiting.into_iter().for_each(|(_, waker)| waker.wake());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    });
    Ok(())
}

#[cfg(not(all(feature = "rt", feature = "net")))]
fn start_reading() -> io::Result<()> {
    Ok(())
}

/// The Unix signal API.
pub mod unix {
    use std::io;
    use std::task::{Context, Poll};

    pub(super) const NUMBERS: usize = 65;

    /// A signal by its Linux number.
    #[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
    pub struct SignalKind(i32);

    macro_rules! kinds {
        ($($name:ident $number:literal)*) => { $(
            #[doc = concat!("Signal number ", $number, ".")]
            pub const fn $name() -> Self {
                Self($number)
            }
        )* };
    }

    impl SignalKind {
        kinds! {
            hangup 1 interrupt 2 quit 3 user_defined1 10 user_defined2 12 pipe 13 alarm 14 terminate 15 child 17
            window_change 28 io 29
        }
        /// The signal with this number.
        pub const fn from_raw(number: std::os::raw::c_int) -> Self {
            Self(number)
        }
        /// The number of the signal.
        pub const fn as_raw_value(&self) -> std::os::raw::c_int {
            self.0
        }
    }

    impl From<std::os::raw::c_int> for SignalKind {
        fn from(number: std::os::raw::c_int) -> Self {
            Self(number)
        }
    }

    impl From<SignalKind> for std::os::raw::c_int {
        fn from(kind: SignalKind) -> Self {
            kind.0
        }
    }

    /// A listener for one kind of signal. Signals that arrive between two `recv` calls are joined into one.
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct Signal {
        number: usize,
        seen: u64,
        id: u64,
    }

    /// Creates a listener for signals of this kind that arrive from now on.
    pub fn signal(kind: SignalKind) -> io::Result<Signal> {
        // SIGKILL and SIGSTOP cannot be caught anywhere.
        let number = usize::try_from(kind.0).ok().filter(|n| (1..NUMBERS).contains(n) && ![9, 19].contains(n));
        let Some(number) = number else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("refusing to register signal {}", kind.0)));
        };
        super::start_reading()?;
        let mut arrivals = super::arrivals();
        arrivals.next_id += 1;
        Ok(Signal { number, seen: arrivals.counts[number], id: arrivals.next_id })
    }

    impl Signal {
        /// Receives the next signal.
        pub async fn recv(&mut self) -> Option<()> {
            std::future::poll_fn(|cx| self.poll_recv(cx)).await
        }

        /// Polls for the next signal.
        pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
            let mut arrivals = super::arrivals();
            let count = arrivals.counts[self.number];
            if count != self.seen {
                self.seen = count;
                return Poll::Ready(Some(()));
            }
            arrivals.waiting.retain(|(id, _)| *id != self.id);
            arrivals.waiting.push((self.id, cx.waker().clone()));
            Poll::Pending
        }
    }

    impl Drop for Signal {
        fn drop(&mut self) {
            super::arrivals().waiting.retain(|(id, _)| *id != self.id);
        }
    }
}
