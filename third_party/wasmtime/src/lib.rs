// SPDX-License-Identifier: Apache-2.0
//! The C API of wasmtime, and the one thing it lacks: a resource limiter that asks the host.
//!
//! `wasmtime_store_limiter` takes fixed numbers. A guest's limit is on the sum of its linear
//! memory, tables, stream buffers and `/tmp`, so each growth has to be put to the host.

use std::ffi::c_void;
use wasmtime::{ResourceLimiter, Store};
use wasmtime_c_api::{WasmtimeStoreData, wasmtime_store_t};

pub use wasmtime_c_api;

/// Answers whether `current -> desired` (bytes of linear memory, or elements of a table) is granted.
type Growing = extern "C" fn(env: *mut c_void, current: usize, desired: usize) -> bool;

struct HostLimiter {
    env: *mut c_void,
    memory: Growing,
    table: Growing,
}

// The host calls into a store from one thread at a time and says so in its own contract.
unsafe impl Send for HostLimiter {}
unsafe impl Sync for HostLimiter {}

impl ResourceLimiter for HostLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        Ok((self.memory)(self.env, current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        Ok((self.table)(self.env, current, desired))
    }

    fn instances(&self) -> usize {
        1
    }
    fn tables(&self) -> usize {
        16
    }
    fn memories(&self) -> usize {
        1
    }
}

/// Installs the host's limiter; `env` must outlive the store.
///
/// # Safety
/// `store` is a live store made by `wasmtime_store_new`, on which no call is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_store_limiter(
    store: *mut wasmtime_store_t,
    env: *mut c_void,
    memory: Growing,
    table: Growing,
) {
    // `wasmtime_store_t` is `repr(C)` around exactly this one field, which is private to its crate.
    const _: () =
        assert!(size_of::<wasmtime_store_t>() == size_of::<Store<WasmtimeStoreData>>());
    let store = unsafe { &mut *store.cast::<Store<WasmtimeStoreData>>() };
    let mut limiter = HostLimiter { env, memory, table };
    store.limiter(move |_| {
        let limiter: *mut HostLimiter = &mut limiter;
        // The closure owns the limiter and lives as long as the store; the borrow the trait wants
        // is bound to the data argument, which lives no longer.
        unsafe { &mut *limiter }
    });
}
