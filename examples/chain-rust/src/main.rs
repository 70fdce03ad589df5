// SPDX-License-Identifier: Apache-2.0
//! Operator number `CHAIN_INDEX` of `CHAIN_LENGTH`: each object of kind `Link<i>` is written on, under the same name, as
//! `Link<i+1>`, with its spec and one more hop. The last operator writes `Link<n>`, which nobody watches.
//!
//! Each operator notes in an annotation when it saw the object, so the last object tells the whole journey.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    runtime::{
        Controller,
        controller::{self, Action},
        watcher,
    },
};
use serde_json::{Value, json};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

const GROUP: &str = "chain.dormouse.example";
const DONE_MAX: usize = 10_000;

fn link(index: u32) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, "v1", &format!("Link{index}"));
    ApiResource::from_gvk_with_plural(&kind, &format!("link{index}s"))
}

struct Context {
    client: Client,
    index: u32,
    /// By uid, the generation of each object that was written on: a fresh list after a lost watch is no news.
    done: Mutex<HashMap<String, i64>>,
}

async fn reconcile(object: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, kube::Error> {
    let seen = Timestamp::now();
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let uid = object.uid().unwrap_or_default(); // A new object of an old name is news.
    let generation = object.metadata.generation.unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() || ctx.done.lock().unwrap().get(&uid) == Some(&generation) {
        return Ok(Action::await_change());
    }

    let mut spec = object.data.get("spec").filter(|s| s.is_object()).cloned().unwrap_or_else(|| json!({}));
    let hop = spec.get("hop").and_then(Value::as_i64).unwrap_or(0) + 1;
    spec["hop"] = json!(hop);
    let mut annotations: BTreeMap<String, String> = object
        .annotations()
        .iter()
        .filter(|(k, _)| k.starts_with(GROUP))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    annotations.insert(format!("{GROUP}/seen-{}", ctx.index), seen.to_string());

    let next = link(ctx.index + 1);
    let mut copy = DynamicObject::new(&name, &next).within(&namespace).data(json!({ "spec": spec }));
    copy.metadata.annotations = Some(annotations);
    let ours = PatchParams::apply(&format!("chain-{}", ctx.index)).force();
    Api::<DynamicObject>::namespaced_with(ctx.client.clone(), &namespace, &next)
        .patch(&name, &ours, &Patch::Apply(&copy))
        .await?;
    let mut done = ctx.done.lock().unwrap();
    if done.len() >= DONE_MAX {
        done.clear(); // Costs at most a second, equal write for each object that still exists.
    }
    done.insert(uid, generation);
    info!(name, namespace, index = ctx.index, hop, "passed on");
    Ok(Action::await_change())
}

fn error_policy(object: Arc<DynamicObject>, error: &kube::Error, _ctx: Arc<Context>) -> Action {
    warn!(name = object.name_any(), %error, "cannot pass it on, trying again in 5 s");
    Action::requeue(Duration::from_secs(5))
}

fn number(name: &str) -> anyhow::Result<u32> {
    let text = env::var(name).with_context(|| format!("{name} is not set"))?;
    text.parse().with_context(|| format!("{name} is not a number: '{text}'"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    let (index, length) = (number("CHAIN_INDEX")?, number("CHAIN_LENGTH")?);
    ensure!(index < length, "CHAIN_INDEX must be below CHAIN_LENGTH, but {index} is not below {length}");
    let client = Client::try_default().await?;
    let watched = link(index);
    let objects = Api::<DynamicObject>::all_with(client.clone(), &watched);
    let context = Arc::new(Context { client, index, done: Mutex::default() });
    info!(index, length, "starting");
    Controller::new_with(objects, watcher::Config::default(), watched)
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
