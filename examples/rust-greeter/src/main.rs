// SPDX-License-Identifier: Apache-2.0
//! An operator for `Greeting`: keeps a ConfigMap with the greeting's text, says so in the status and in an Event, and
//! says good-bye when the Greeting is deleted.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, CustomResource, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams},
    runtime::{
        Controller,
        controller::{self, Action},
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{Event as Finalizer, finalizer},
        watcher,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

const NAME: &str = "rust-greeter";
const FINALIZER: &str = "rust.greeter.dormouse.example/goodbye";

/// Whom to greet.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, JsonSchema)]
#[kube(
    group = "rust.greeter.dormouse.example",
    version = "v1",
    kind = "Greeting",
    namespaced,
    status = "GreetingStatus",
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#
)]
#[serde(rename_all = "camelCase")]
struct GreetingSpec {
    #[schemars(length(min = 1, max = 100))]
    name: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GreetingStatus {
    message: Option<String>,
    observed_generation: Option<i64>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Error)]
enum Error {
    #[error("Greeting has no namespace")]
    NoNamespace,
    #[error("cannot {0}: {1}")]
    Kube(&'static str, #[source] kube::Error),
    #[error("finalizer: {0}")]
    Finalizer(#[source] Box<kube::runtime::finalizer::Error<Error>>),
}

struct Context {
    client: Client,
    recorder: Recorder,
}

async fn reconcile(greeting: Arc<Greeting>, ctx: Arc<Context>) -> Result<Action, Error> {
    let namespace = greeting.namespace().ok_or(Error::NoNamespace)?;
    let greetings: Api<Greeting> = Api::namespaced(ctx.client.clone(), &namespace);
    finalizer(&greetings, FINALIZER, greeting, |event| async {
        match event {
            Finalizer::Apply(greeting) => apply(&greeting, &ctx, &namespace).await,
            Finalizer::Cleanup(greeting) => cleanup(&greeting, &ctx).await,
        }
    })
    .await
    .map_err(|e| Error::Finalizer(Box::new(e)))
}

/// The wanted state: a ConfigMap that the Greeting owns, and a status that says so.
async fn apply(greeting: &Greeting, ctx: &Context, namespace: &str) -> Result<Action, Error> {
    let name = greeting.name_any();
    let message = format!("Hello, {}!", greeting.spec.name);
    let owner = greeting.controller_owner_ref(&()).expect("an object from the API server has name and uid");
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([("greeting".to_owned(), message.clone())].into()),
        ..ConfigMap::default()
    };
    let ours = PatchParams::apply(NAME).force();
    Api::<ConfigMap>::namespaced(ctx.client.clone(), namespace)
        .patch(&name, &ours, &Patch::Apply(&config_map))
        .await
        .map_err(|e| Error::Kube("apply the ConfigMap", e))?;

    let status = greeting.status.clone().unwrap_or_default();
    if status.message.as_deref() == Some(&message) && status.observed_generation == greeting.meta().generation {
        return Ok(Action::await_change());
    }
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True");
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: "Greeted".to_owned(),
        message: format!("ConfigMap {name} holds the greeting"),
        observed_generation: greeting.meta().generation,
        last_transition_time: ready.map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone()),
    };
    let patch = json!({"status": GreetingStatus {
        message: Some(message.clone()),
        observed_generation: greeting.meta().generation,
        conditions: vec![condition],
    }});
    Api::<Greeting>::namespaced(ctx.client.clone(), namespace)
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|e| Error::Kube("patch the status", e))?;
    publish(greeting, ctx, "Greeted", "Greet", &message).await?;
    info!(greeting = %name, namespace, %message, "greeted");
    Ok(Action::await_change())
}

/// The ConfigMap goes by itself, for the Greeting owns it.
async fn cleanup(greeting: &Greeting, ctx: &Context) -> Result<Action, Error> {
    let message = format!("Good-bye, {}!", greeting.spec.name);
    publish(greeting, ctx, "Left", "Delete", &message).await?;
    info!(greeting = %greeting.name_any(), %message, "said good-bye");
    Ok(Action::await_change())
}

async fn publish(greeting: &Greeting, ctx: &Context, reason: &str, action: &str, note: &str) -> Result<(), Error> {
    let event = Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note.to_owned()),
        action: action.to_owned(),
        secondary: None,
    };
    ctx.recorder.publish(&event, &greeting.object_ref(&())).await.map_err(|e| Error::Kube("publish an Event", e))
}

fn error_policy(greeting: Arc<Greeting>, error: &Error, _ctx: Arc<Context>) -> Action {
    warn!(greeting = %greeting.name_any(), %error, "reconcile failed, trying again in 5 s");
    Action::requeue(Duration::from_secs(5))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    let client = Client::try_default().await?;
    // All namespaces, unless WATCH_NAMESPACE names one.
    let (greetings, config_maps): (Api<Greeting>, Api<ConfigMap>) = match std::env::var("WATCH_NAMESPACE") {
        Ok(one) if !one.is_empty() => (Api::namespaced(client.clone(), &one), Api::namespaced(client.clone(), &one)),
        _ => (Api::all(client.clone()), Api::all(client.clone())),
    };
    let context = Arc::new(Context { recorder: Recorder::new(client.clone(), Reporter::from(NAME)), client });
    info!("starting");
    Controller::new(greetings, watcher::Config::default())
        .owns(config_maps, watcher::Config::default())
        .shutdown_on_signal()
        .run(reconcile, error_policy, context)
        .for_each(|result| async move {
            match result {
                // Deleted while it waited in the queue.
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => warn!(%error, "controller"),
            }
        })
        .await;
    info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;

    fn without_descriptions(value: &mut serde_json::Value) {
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, value| key != "description" || !value.is_string());
            map.values_mut().for_each(without_descriptions);
        } else if let Some(list) = value.as_array_mut() {
            list.iter_mut().for_each(without_descriptions);
        }
    }

    #[test]
    fn crd_yaml_is_what_the_types_say() {
        let written: serde_json::Value = serde_saphyr::from_str(include_str!("../crd.yaml")).unwrap();
        let mut ours = serde_json::to_value(Greeting::crd()).unwrap();
        without_descriptions(&mut ours);
        assert_eq!(written, ours, "{}", serde_json::to_string_pretty(&ours).unwrap());
    }
}
