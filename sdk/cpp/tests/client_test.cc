// SPDX-License-Identifier: Apache-2.0
#include "kubepp/client.h"

#include <gtest/gtest.h>

#include "fake_api_server.h"
#include "kubepp/events.h"

namespace kubepp {
namespace {

const ObjectKey kKey{"ns", "a b"};

Task<int> get_twice(Client& client, FakeApiServer& server) {
  for (int i = 0; i < 2; ++i) {
    const Result<Json> got = co_await client.get(kConfigMap, kKey);
    EXPECT_TRUE(got.has_value() && (*got)["x"].as_integer() == 1);
  }
  EXPECT_EQ(server.connections, 1);
  EXPECT_EQ(server.requests[0].target, "/api/v1/namespaces/ns/configmaps/a%20b");
  EXPECT_NE(server.requests[0].head.find("\r\nHost: kube\r\n"), std::string::npos);
  co_return 0;
}

TEST(Client, KeepsItsConnection) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return FakeApiServer::json(R"({"x":1})"); });
  Client client(loop, server.endpoint(), {});
  loop.run(get_twice(client, server));
}

Task<int> get_after_a_cut(Client& client, FakeApiServer& server) {
  EXPECT_TRUE((co_await client.get(kConfigMap, kKey)).has_value());
  server.cut_all();
  EXPECT_TRUE((co_await client.get(kConfigMap, kKey)).has_value());
  EXPECT_EQ(server.connections, 2);
  co_return 0;
}

TEST(Client, ReplacesAnIdleConnectionThatHasDied) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return FakeApiServer::json("{}"); });
  Client client(loop, server.endpoint(), {});
  loop.run(get_after_a_cut(client, server));
}

Task<int> create_fails(Client& client, FakeApiServer& server) {
  EXPECT_TRUE((co_await client.get(kConfigMap, kKey)).has_value());
  const Json object = new_object(kConfigMap, "ns", "x");
  const Result<Json> created = co_await client.create(kConfigMap, object);
  EXPECT_FALSE(created.has_value());
  EXPECT_EQ(created.error().reason, "Network");
  EXPECT_EQ(server.requests.size(), 2u);
  co_return 0;
}

TEST(Client, NeverSendsAPostTwice) {
  Loop loop;
  FakeApiServer server(loop, [](const auto& r) { return r.method == "POST" ? "close" : FakeApiServer::json("{}"); });
  Client client(loop, server.endpoint(), {});
  loop.run(create_fails(client, server));
}

Task<int> errors(Client& client) {
  const Result<Json> got = co_await client.get(kConfigMap, kKey);
  EXPECT_TRUE(!got && got.error().not_found());
  EXPECT_EQ(got.error().reason, "NotFound");
  EXPECT_EQ(got.error().message, "GET /api/v1/namespaces/ns/configmaps/a%20b: because");
  co_return 0;
}

TEST(Client, ErrorsCarryTheServersStatus) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return FakeApiServer::status(404, "NotFound"); });
  Client client(loop, server.endpoint(), {});
  loop.run(errors(client));
}

Task<int> overload(Client& client, FakeApiServer& server) {
  const Time begin = Loop::now();
  const Result<Json> got = co_await client.get(kConfigMap, kKey);
  EXPECT_TRUE(got.has_value());
  EXPECT_EQ(server.requests.size(), 2u);
  EXPECT_GE(Loop::now() - begin, std::chrono::seconds(1));
  co_return 0;
}

TEST(Client, ComesBackWhenTheServerSaysSo) {
  Loop loop;
  FakeApiServer server(loop, [&server](const auto&) {
    return server.requests.size() == 1 ? FakeApiServer::status(429, "TooManyRequests", "Retry-After: 1\r\n") : FakeApiServer::json("{}");
  });
  Client client(loop, server.endpoint(), {});
  loop.run(overload(client, server));
}

Task<int> silence(Client& client) {
  const Result<Json> got = co_await client.get(kConfigMap, kKey);
  EXPECT_TRUE(!got && got.error().reason == "Timeout");
  co_return 0;
}

TEST(Client, GivesUpOnASilentServer) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return ""; });
  Client client(loop, server.endpoint(), {.request_timeout = std::chrono::milliseconds(20)});
  loop.run(silence(client));
}

Task<int> nobody_listens(Client& client) {
  const Result<Json> got = co_await client.get(kConfigMap, kKey);
  EXPECT_TRUE(!got && got.error().reason == "Network");
  co_return 0;
}

TEST(Client, ARefusedConnectionIsAnErrorThatSaysWhere) {
  Loop loop;
  Endpoint endpoint;
  endpoint.address = "127.0.0.1:1";
  Client client(loop, endpoint, {});
  loop.run(nobody_listens(client));
}

Task<int> apply_something(Client& client, FakeApiServer& server) {
  const Json object = new_object(kConfigMap, "ns", "x");
  EXPECT_TRUE((co_await client.apply(kConfigMap, object)).has_value());
  EXPECT_TRUE((co_await client.apply_status(kConfigMap, object)).has_value());
  EXPECT_EQ(server.requests[0].method, "PATCH");
  EXPECT_EQ(server.requests[0].target, "/api/v1/namespaces/ns/configmaps/x?force=true&fieldManager=me");
  EXPECT_EQ(server.requests[1].target, "/api/v1/namespaces/ns/configmaps/x/status?force=true&fieldManager=me");
  EXPECT_NE(server.requests[0].head.find("Content-Type: application/apply-patch+yaml"), std::string::npos);
  EXPECT_EQ(server.requests[0].body, object.dump());
  co_return 0;
}

TEST(Client, AppliesServerSide) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return FakeApiServer::json("{}"); });
  Client client(loop, server.endpoint(), {.field_manager = "me"});
  loop.run(apply_something(client, server));
}

Task<int> finalizers(Client& client, FakeApiServer& server) {
  Json json = new_object(kConfigMap, "ns", "x");
  json["metadata"]["resourceVersion"] = "7";
  const Object bare = std::make_shared<const Json>(json);
  json["metadata"]["finalizers"] = Json::array({"other", "mine"});
  const Object held = std::make_shared<const Json>(json);
  EXPECT_TRUE((co_await client.add_finalizer(kConfigMap, held, "mine")).has_value());
  EXPECT_TRUE((co_await client.remove_finalizer(kConfigMap, bare, "mine")).has_value());
  EXPECT_EQ(server.requests.size(), 0u);
  EXPECT_TRUE((co_await client.add_finalizer(kConfigMap, bare, "mine")).has_value());
  EXPECT_TRUE((co_await client.remove_finalizer(kConfigMap, held, "mine")).has_value());
  EXPECT_EQ(server.requests.size(), 2u);
  EXPECT_EQ(server.requests[0].body, R"({"metadata":{"resourceVersion":"7","finalizers":["mine"]}})");
  EXPECT_EQ(server.requests[1].body, R"({"metadata":{"resourceVersion":"7","finalizers":["other"]}})");
  co_return 0;
}

TEST(Client, FinalizersAreChangedOnlyWhenNeededAndNeverBlindly) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return FakeApiServer::json("{}"); });
  Client client(loop, server.endpoint(), {});
  loop.run(finalizers(client, server));
}

Task<int> same_event_thrice(Client& client, FakeApiServer& server) {
  EventRecorder events(client, {.controller = "example.com/x", .instance = "pod"});
  Json json = new_object(kConfigMap, "ns", "x");
  json["metadata"]["uid"] = "u";
  const Object about = std::make_shared<const Json>(json);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE((co_await events.publish(kConfigMap, about, EventRecorder::Type::Warning, "Bad", "Try", "it is bad")).has_value());
  }
  EXPECT_TRUE((co_await events.publish(kConfigMap, about, EventRecorder::Type::Warning, "Bad", "Try", "it is worse")).has_value());
  std::string methods;
  for (const auto& request : server.requests) methods += request.method + " ";
  EXPECT_EQ(methods, "POST PATCH PATCH POST ");
  const Json event = *Json::parse(server.requests[0].body);
  EXPECT_EQ(event["regarding"]["uid"].as_string(), "u");
  EXPECT_EQ(event["type"].as_string(), "Warning");
  EXPECT_EQ((*Json::parse(server.requests[2].body))["series"]["count"].as_integer(), 3);
  co_return 0;
}

TEST(EventRecorder, ARepeatedEventBecomesASeries) {
  Loop loop;
  FakeApiServer server(loop, [](const auto&) { return FakeApiServer::json("{}"); });
  Client client(loop, server.endpoint(), {});
  loop.run(same_event_thrice(client, server));
}

TEST(Condition, KeepsItsTransitionTimeWhileTheStatusStays) {
  Json object = *Json::parse(R"({"metadata":{"generation":2},"status":{"conditions":[
    {"type":"Ready","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z"}]}})");
  EXPECT_EQ(condition(object, "Ready", true, "R", "m")["lastTransitionTime"].as_string(), "2020-01-01T00:00:00Z");
  EXPECT_NE(condition(object, "Ready", false, "R", "m")["lastTransitionTime"].as_string(), "2020-01-01T00:00:00Z");
  EXPECT_EQ(condition(object, "Ready", true, "R", "m")["observedGeneration"].as_integer(), 2);
}

TEST(Rfc3339, WritesMicroseconds) {
  const auto time = std::chrono::system_clock::time_point(std::chrono::microseconds(1700000000000042));
  EXPECT_EQ(rfc3339(time), "2023-11-14T22:13:20.000042Z");
  EXPECT_EQ(rfc3339_seconds(time), "2023-11-14T22:13:20Z");
}

}  // namespace
}  // namespace kubepp
