// SPDX-License-Identifier: Apache-2.0
// An operator in C++: for each Greeting it keeps a ConfigMap with the greeting's text.
//
// It does what an operator does: follows its resource and what it owns, applies the owned object server-side, says in
// status and Events what it did, and has a finalizer to say goodbye. The same file builds for Linux and as a wasm guest.

#include <kubepp/kubepp.h>

using namespace kubepp;

namespace {

const Resource kGreeting{"cpp.greeter.dormouse.example", "v1", "greetings", "Greeting"};
const std::string kFinalizer = "cpp.greeter.dormouse.example/farewell";

struct Greeter {
  Client& client;
  EventRecorder& events;
};

std::string message_for(const Json& greeting) { return "Hello, " + std::string(greeting["spec"]["name"].as_string()) + "!"; }

// The ConfigMap that belongs to a Greeting: all that we say about it, and nothing else of it is ours.
Json config_map_for(const Json& greeting) {
  Json map = new_object(kConfigMap, namespace_of(greeting), std::string(name_of(greeting)) + "-greeting");
  map["metadata"]["labels"] = Json::object({{"app.kubernetes.io/managed-by", "cpp-greeter"}});
  map["metadata"]["ownerReferences"] = Json::array({owner_reference(kGreeting, greeting)});
  map["data"] = Json::object({{"message", message_for(greeting)}});
  return map;
}

Json status_for(const Json& greeting) {
  Json object = new_object(kGreeting, namespace_of(greeting), name_of(greeting));
  object["status"] = Json::object({
      {"message", message_for(greeting)},
      {"observedGeneration", generation_of(greeting)},
      {"conditions", Json::array({condition(greeting, "Ready", true, "Greeted", "the ConfigMap holds the greeting")})},
  });
  return object;
}

// The object is going: say so, then let it go. Its ConfigMap is the garbage collector's.
Task<Result<Action>> say_goodbye(Greeter& greeter, Object greeting) {
  const std::string note = "Goodbye, " + std::string((*greeting)["spec"]["name"].as_string()) + "!";
  const Result<void> told =
      co_await greeter.events.publish(kGreeting, greeting, EventRecorder::Type::Normal, "Farewell", "Finalize", note);
  if (!told && !told.error().forbidden() && !told.error().not_found()) co_return fail(told.error());
  const Result<Json> released = co_await greeter.client.remove_finalizer(kGreeting, greeting, kFinalizer);
  if (!released && !released.error().not_found()) co_return fail(released.error());
  log::info("said goodbye", {{"greeting", key_of(*greeting).text()}});
  co_return Action::await_change();
}

Task<Result<Action>> reconcile(Greeter& greeter, Object greeting) {
  if (is_being_deleted(*greeting)) co_return co_await say_goodbye(greeter, greeting);

  const Result<Json> guarded = co_await greeter.client.add_finalizer(kGreeting, greeting, kFinalizer);
  if (!guarded) co_return fail(guarded.error());

  const Json map = config_map_for(*greeting);
  const Result<Json> applied = co_await greeter.client.apply(kConfigMap, map);
  if (!applied) co_return fail(applied.error());

  // Told already, and nothing has changed since: a reconcile that finds nothing to do writes nothing.
  const Json& status = (*greeting)["status"];
  const bool news = status["message"].as_string() != message_for(*greeting);
  if (!news && status["observedGeneration"].as_integer() == generation_of(*greeting)) co_return Action::await_change();

  const Json report = status_for(*greeting);
  const Result<Json> reported = co_await greeter.client.apply_status(kGreeting, report);
  if (!reported) co_return fail(reported.error());

  if (news) {
    const Result<void> told = co_await greeter.events.publish(kGreeting, greeting, EventRecorder::Type::Normal, "Greeted",
                                                              "Reconcile", message_for(*greeting));
    if (!told) log::warn("cannot record an event", {{"error", told.error().message}});
  }
  log::info("greeted", {{"greeting", key_of(*greeting).text()}, {"generation", generation_of(*greeting)}});
  co_return Action::await_change();
}

Task<int> run(Loop& loop, Signals& signals) {
  Result<std::unique_ptr<Client>> client = Client::from_environment(loop, {.field_manager = "cpp-greeter"});
  if (!client) {
    log::error("cannot reach the API server", {{"error", client.error().message}});
    co_return 1;
  }
  EventRecorder events(**client, {.controller = "cpp.greeter.dormouse.example/greeter", .instance = current_pod()});
  Greeter greeter{**client, events};

  Controller controller(**client, {.resource = kGreeting, .concurrency = 4},
                        [&greeter](Object greeting) { return reconcile(greeter, std::move(greeting)); });
  controller.owns(kConfigMap, "app.kubernetes.io/managed-by=cpp-greeter");

  Event stop;
  Task<> stopper = stop_on_signal(signals, stop);
  stopper.start();
  co_await controller.run(stop);
  co_return 0;
}

}  // namespace

int main() {
  Loop loop;
  Signals signals(loop);
  return loop.run(run(loop, signals));
}
