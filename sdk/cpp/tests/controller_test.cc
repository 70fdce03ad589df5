// SPDX-License-Identifier: Apache-2.0
#include "kubepp/controller.h"

#include <gtest/gtest.h>

#include "fake_api_server.h"

namespace kubepp {
namespace {

using std::chrono::milliseconds;

const Resource kThing{"example.com", "v1", "things", "Thing"};

Json thing(std::string_view name, int revision, int generation = 1) {
  Json object = new_object(kThing, "ns", name);
  object["metadata"]["resourceVersion"] = std::to_string(revision);
  object["metadata"]["generation"] = generation;
  return object;
}

std::string list_of(std::initializer_list<Json> items, int revision, std::string_view next = {}) {
  Json list = Json::object({{"kind", "ThingList"}, {"items", Json::array(items)}});
  list["metadata"] = Json::object({{"resourceVersion", std::to_string(revision)}, {"continue", next}});
  return FakeApiServer::json(list.dump());
}

bool is_watch(const FakeApiServer::Request& request) { return request.target.find("watch=true") != std::string::npos; }

// Waits until `done` holds; every step of these tests is a request or an answer.
Task<> until(Loop& loop, std::function<bool()> done) {
  const Time late = Loop::now() + std::chrono::seconds(20);
  while (!done() && Loop::now() < late) co_await loop.sleep(milliseconds(1));
  EXPECT_TRUE(done());
}

struct Log {
  std::string text;
  Reflector::OnChange hook() {
    return [this](const ObjectKey& key, const Object& before, const Object& after) {
      text += (!before ? '+' : !after ? '-' : '~') + key.name + " ";
    };
  }
};

Task<int> follow(Loop& loop, FakeApiServer& server, Reflector& reflector, Log& log) {
  reflector.start();
  co_await until(loop, [&] { return server.requests.size() == 3; });
  EXPECT_EQ(log.text, "+a +b ");
  EXPECT_NE(server.requests[1].target.find("continue=page%202"), std::string::npos);
  EXPECT_NE(server.requests[2].target.find("resourceVersion=5"), std::string::npos);

  server.send(FakeApiServer::event("ADDED", thing("c", 6)));
  server.send(FakeApiServer::event("MODIFIED", thing("a", 7)));
  server.send(FakeApiServer::event("DELETED", thing("b", 8)));
  server.send(FakeApiServer::event("BOOKMARK", thing("", 20)));
  co_await until(loop, [&] { return log.text == "+a +b +c ~a -b "; });
  EXPECT_TRUE(reflector.find({"ns", "c"}) && !reflector.find({"ns", "b"}));

  // The stream ends as servers end watches: it goes on from the bookmark.
  server.send("0\r\n\r\n");
  co_await until(loop, [&] { return server.requests.size() == 4; });
  EXPECT_NE(server.requests[3].target.find("resourceVersion=20"), std::string::npos);
  EXPECT_EQ(log.text, "+a +b +c ~a -b ");
  co_return 0;
}

TEST(Reflector, ListsInPagesThenWatchesAndGoesOnFromTheLastRevision) {
  Loop loop;
  FakeApiServer server(loop, [](const FakeApiServer::Request& request) {
    if (is_watch(request)) return FakeApiServer::stream_head();
    if (request.target.find("continue") == std::string::npos) return list_of({thing("a", 1)}, 5, "page 2");
    return list_of({thing("b", 2)}, 5);
  });
  Client client(loop, server.endpoint(), {});
  Log log;
  Reflector reflector(client, {.resource = kThing}, log.hook());
  loop.run(follow(loop, server, reflector, log));
}

Task<int> relist(Loop& loop, FakeApiServer& server, Reflector& reflector, Log& log) {
  reflector.start();
  co_await until(loop, [&] { return server.requests.size() == 2; });
  const Json gone = Json::object({{"kind", "Status"}, {"code", 410}, {"reason", "Expired"}});
  server.send(FakeApiServer::event("ERROR", gone));
  co_await until(loop, [&] { return server.requests.size() == 4; });
  // What went meanwhile is told, what changed too, what stayed is not.
  EXPECT_EQ(log.text, "+a +b +c ~a +d -b ");
  EXPECT_NE(server.requests[3].target.find("resourceVersion=99"), std::string::npos);
  co_return 0;
}

TEST(Reflector, ListsAnewWhenItsRevisionIsGone) {
  Loop loop;
  FakeApiServer server(loop, [&server](const FakeApiServer::Request& request) {
    if (is_watch(request)) return FakeApiServer::stream_head();
    if (server.requests.size() == 1) return list_of({thing("a", 1), thing("b", 2), thing("c", 3)}, 5);
    return list_of({thing("a", 50), thing("c", 3), thing("d", 60)}, 99);
  });
  Client client(loop, server.endpoint(), {});
  Log log;
  Reflector reflector(client, {.resource = kThing}, log.hook());
  loop.run(relist(loop, server, reflector, log));
}

Task<int> always_gone(Loop& loop, FakeApiServer& server, Reflector& reflector) {
  reflector.start();
  co_await loop.sleep(milliseconds(200));
  EXPECT_LE(server.requests.size(), 4u);
  co_return 0;
}

TEST(Reflector, DoesNotSpinOnAServerThatForgetsEverything) {
  Loop loop;
  FakeApiServer server(loop, [](const FakeApiServer::Request& request) {
    return is_watch(request) ? FakeApiServer::status(410, "Gone") : list_of({}, 5);
  });
  Client client(loop, server.endpoint(), {});
  Log log;
  Reflector reflector(client, {.resource = kThing}, log.hook());
  loop.run(always_gone(loop, server, reflector));
}

Task<int> cut(Loop& loop, FakeApiServer& server, Reflector& reflector, Log& log) {
  reflector.start();
  co_await until(loop, [&] { return server.requests.size() == 2; });
  server.send(FakeApiServer::event("MODIFIED", thing("a", 9)));
  co_await until(loop, [&] { return log.text == "+a ~a "; });
  const std::string half = FakeApiServer::event("MODIFIED", thing("a", 10));
  server.send(half.substr(0, half.size() / 2));
  server.cut_all();
  // After a back-off it goes on from the last whole event.
  co_await until(loop, [&] { return server.requests.size() == 3; });
  EXPECT_NE(server.requests[2].target.find("resourceVersion=9"), std::string::npos);
  EXPECT_EQ(log.text, "+a ~a ");
  co_return 0;
}

TEST(Reflector, ACutWatchGoesOnFromTheLastWholeEvent) {
  Loop loop;
  FakeApiServer server(loop, [](const FakeApiServer::Request& request) {
    return is_watch(request) ? FakeApiServer::stream_head() : list_of({thing("a", 1)}, 5);
  });
  Client client(loop, server.endpoint(), {});
  Log log;
  Reflector reflector(client, {.resource = kThing}, log.hook());
  loop.run(cut(loop, server, reflector, log));
}

Task<int> rest(Loop& loop, FakeApiServer& server, Reflector& reflector, Log& log) {
  reflector.start();
  co_await until(loop, [&] { return server.requests.size() == 2; });
  server.send(FakeApiServer::event("ADDED", thing("a", 6)));
  co_await until(loop, [&] { return log.text == "+a "; });
  const std::uint64_t before = loop.wakeups();
  co_await loop.sleep(milliseconds(300));
  EXPECT_EQ(loop.wakeups() - before, 1u);
  co_return 0;
}

TEST(Reflector, AQuietWatchWakesNobody) {
  Loop loop;
  FakeApiServer server(loop, [](const FakeApiServer::Request& request) {
    return is_watch(request) ? FakeApiServer::stream_head() : list_of({}, 5);
  });
  Client client(loop, server.endpoint(), {});
  Log log;
  Reflector reflector(client, {.resource = kThing}, log.hook());
  loop.run(rest(loop, server, reflector, log));
}

TEST(LineSplitter, GivesWholeLinesFromPiecesOfAnySize) {
  const std::string bytes = "one\ntwo\n\nthree\n";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    LineSplitter lines;
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      EXPECT_TRUE(lines.feed(std::string_view(bytes).substr(at, piece), [&](std::string_view line) { out += "<" + std::string(line) + ">"; }));
    }
    EXPECT_EQ(out, "<one><two><><three>");
  }
  LineSplitter lines;
  EXPECT_FALSE(lines.feed(std::string(LineSplitter::kLineBytesMax + 1, 'x'), [](std::string_view) {}));
}

// --- Controller ---

struct Work {
  std::string log;
  int failures_left = 0;
  int running = 0, running_most = 0;
  Event hold;
  bool held = false;
};

Task<Result<Action>> reconcile(Loop& loop, Work& work, Object object) {
  work.running_most = std::max(work.running_most, ++work.running);
  work.log += std::string(name_of(*object)) + std::string((*object)["metadata"]["resourceVersion"].as_string()) + " ";
  if (work.held) co_await loop.event(work.hold);
  --work.running;
  if (work.failures_left > 0) {
    --work.failures_left;
    co_return fail("Test", "not yet");
  }
  co_return Action::await_change();
}

Task<> run_controller(Controller& controller, Event& stop, bool& over) {
  co_await controller.run(stop);
  over = true;
}

FakeApiServer::Handle two_things() {
  return [](const FakeApiServer::Request& request) {
    if (is_watch(request)) return FakeApiServer::stream_head();
    if (request.target.find("/configmaps") != std::string::npos) return list_of({}, 5);
    return list_of({thing("a", 1), thing("b", 2)}, 5);
  };
}

Task<int> work_on_changes(Loop& loop, FakeApiServer& server, Work& work, Controller& controller) {
  Event stop;
  bool over = false;
  Task<> running = run_controller(controller, stop, over);
  running.start();
  co_await until(loop, [&] { return work.log == "a1 b2 "; });
  co_await until(loop, [&] { return server.requests.size() == 2; });

  // The same generation with another status: nothing to do. Another generation: work.
  Json status = thing("a", 6, 1);
  status["status"]["x"] = 1;
  server.send(FakeApiServer::event("MODIFIED", status));
  server.send(FakeApiServer::event("MODIFIED", thing("b", 7, 2)));
  co_await until(loop, [&] { return work.log == "a1 b2 b7 "; });
  Json finalized = thing("a", 8, 1);
  finalized["metadata"]["finalizers"] = Json::array({"x"});
  server.send(FakeApiServer::event("MODIFIED", finalized));
  co_await until(loop, [&] { return work.log == "a1 b2 b7 a8 "; });

  stop.set();
  co_await until(loop, [&] { return over; });
  co_return 0;
}

TEST(Controller, ReconcilesWhatChangedButNotWhatOnlyItsStatusDid) {
  Loop loop;
  FakeApiServer server(loop, two_things());
  Client client(loop, server.endpoint(), {});
  Work work;
  Controller controller(client, {.resource = kThing}, [&](Object object) { return reconcile(loop, work, object); });
  loop.run(work_on_changes(loop, server, work, controller));
}

Task<int> retry(Loop& loop, Work& work, Controller& controller) {
  Event stop;
  bool over = false;
  work.failures_left = 3;
  Task<> running = run_controller(controller, stop, over);
  running.start();
  co_await until(loop, [&] { return work.log.size() == 15; });
  EXPECT_EQ(work.failures_left, 0);
  co_return 0;
}

TEST(Controller, ComesBackAfterAFailure) {
  Loop loop;
  FakeApiServer server(loop, two_things());
  Client client(loop, server.endpoint(), {});
  Work work;
  Controller controller(client, {.resource = kThing}, [&](Object object) { return reconcile(loop, work, object); });
  loop.run(retry(loop, work, controller));
}

Task<int> owned(Loop& loop, FakeApiServer& server, Work& work, Controller& controller) {
  Event stop;
  bool over = false;
  Task<> running = run_controller(controller, stop, over);
  running.start();
  co_await until(loop, [&] { return work.log == "a1 b2 " && server.requests.size() == 4; });
  Json map = new_object(kConfigMap, "ns", "m");
  map["metadata"]["resourceVersion"] = "9";
  Json owner = owner_reference(kThing, thing("b", 2));
  map["metadata"]["ownerReferences"] = Json::array({owner});
  // Both watches are open; the one of ConfigMaps began last.
  server.send(FakeApiServer::event("ADDED", map));
  co_await until(loop, [&] { return work.log == "a1 b2 b2 "; });
  server.send(FakeApiServer::event("DELETED", map));
  co_await until(loop, [&] { return work.log == "a1 b2 b2 b2 "; });
  // Of another kind, or of another group of the same name.
  owner["apiVersion"] = "example.com.evil/v1";
  map["metadata"]["ownerReferences"] = Json::array({owner});
  map["metadata"]["name"] = "other";
  server.send(FakeApiServer::event("ADDED", map));
  owner["apiVersion"] = "example.com/v2";
  owner["name"] = "a";
  map["metadata"]["ownerReferences"] = Json::array({owner});
  map["metadata"]["name"] = "another";
  server.send(FakeApiServer::event("ADDED", map));
  co_await until(loop, [&] { return work.log == "a1 b2 b2 b2 a1 "; });
  co_return 0;
}

TEST(Controller, AChangeOfAnOwnedObjectReconcilesItsOwner) {
  Loop loop;
  FakeApiServer server(loop, two_things());
  Client client(loop, server.endpoint(), {});
  Work work;
  Controller controller(client, {.resource = kThing}, [&](Object object) { return reconcile(loop, work, object); });
  controller.owns(kConfigMap);
  loop.run(owned(loop, server, work, controller));
}

Task<int> stop_while_working(Loop& loop, Work& work, Controller& controller, bool release) {
  Event stop;
  bool over = false;
  work.held = true;
  Task<> running = run_controller(controller, stop, over);
  running.start();
  co_await until(loop, [&] { return work.running == 2; });
  stop.set();
  if (release) {
    co_await loop.sleep(milliseconds(10));
    EXPECT_FALSE(over);
    work.hold.set();
  }
  co_await until(loop, [&] { return over; });
  EXPECT_EQ(work.running, release ? 0 : 2);
  co_return 0;
}

TEST(Controller, LetsReconcilesUnderWayFinish) {
  Loop loop;
  FakeApiServer server(loop, two_things());
  Client client(loop, server.endpoint(), {});
  Work work;
  Controller controller(client, {.resource = kThing, .concurrency = 3}, [&](Object object) { return reconcile(loop, work, object); });
  loop.run(stop_while_working(loop, work, controller, true));
}

TEST(Controller, CutsOffReconcilesThatOutlastTheGrace) {
  Loop loop;
  FakeApiServer server(loop, two_things());
  Client client(loop, server.endpoint(), {});
  Work work;
  Controller controller(client, {.resource = kThing, .concurrency = 3, .shutdown_grace = milliseconds(30)},
                        [&](Object object) { return reconcile(loop, work, object); });
  loop.run(stop_while_working(loop, work, controller, false));
}

}  // namespace
}  // namespace kubepp
