// SPDX-License-Identifier: Apache-2.0
//! All operators of a chain that `CHAIN_INDEXES` (such as "0,1,5") names, as tasks of one process and on one client: what
//! an author does who joins operators by hand. Each does what examples/chain-rust does.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt, future::join_all};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    runtime::{Controller, controller::Action, watcher},
};
use serde_json::{Value, json};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

const GROUP: &str = "chain.dormouse.example";

fn link(index: u32) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, "v1", &format!("Link{index}"));
    ApiResource::from_gvk_with_plural(&kind, &format!("link{index}s"))
}

struct Context {
    client: Client,
    index: u32,
    done: Mutex<HashMap<String, i64>>,
}

async fn reconcile(object: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, kube::Error> {
    let seen = Timestamp::now();
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() || ctx.done.lock().unwrap().get(&uid) == Some(&generation) {
        return Ok(Action::await_change());
    }
    let mut spec = object.data.get("spec").filter(|s| s.is_object()).cloned().unwrap_or_else(|| json!({}));
    let hop = spec.get("hop").and_then(Value::as_i64).unwrap_or(0) + 1;
    spec["hop"] = json!(hop);
    let mut annotations: BTreeMap<String, String> =
        object.annotations().iter().filter(|(k, _)| k.starts_with(GROUP)).map(|(k, v)| (k.clone(), v.clone())).collect();
    annotations.insert(format!("{GROUP}/seen-{}", ctx.index), seen.to_string());
    let next = link(ctx.index + 1);
    let mut copy = DynamicObject::new(&name, &next).within(&namespace).data(json!({ "spec": spec }));
    copy.metadata.annotations = Some(annotations);
    let ours = PatchParams::apply(&format!("chain-{}", ctx.index)).force();
    Api::<DynamicObject>::namespaced_with(ctx.client.clone(), &namespace, &next).patch(&name, &ours, &Patch::Apply(&copy)).await?;
    ctx.done.lock().unwrap().insert(uid, generation);
    info!(name, namespace, index = ctx.index, hop, "passed on");
    Ok(Action::await_change())
}

fn error_policy(object: Arc<DynamicObject>, error: &kube::Error, _ctx: Arc<Context>) -> Action {
    warn!(name = object.name_any(), %error, "cannot pass it on, trying again in 5 s");
    Action::requeue(Duration::from_secs(5))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))).init();
    let client = Client::try_default().await?;
    let mut operators = Vec::new();
    for text in env::var("CHAIN_INDEXES").context("CHAIN_INDEXES is not set")?.split(',') {
        let index: u32 = text.parse().with_context(|| format!("CHAIN_INDEXES: '{text}' is not a number"))?;
        let watched = link(index);
        let objects = Api::<DynamicObject>::all_with(client.clone(), &watched);
        let context = Arc::new(Context { client: client.clone(), index, done: Mutex::default() });
        operators.push(tokio::spawn(
            Controller::new_with(objects, watcher::Config::default(), watched)
                .shutdown_on_signal()
                .run(reconcile, error_policy, context)
                .for_each(|_| async {}),
        ));
    }
    join_all(operators).await;
    Ok(())
}
