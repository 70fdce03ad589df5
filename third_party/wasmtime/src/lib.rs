// SPDX-License-Identifier: Apache-2.0
//! The C API of wasmtime, and the few things it lacks; `src/wasm/wasmtime_extra.h` declares them.
//!
//! - A resource limiter that asks the host: `wasmtime_store_limiter` takes fixed numbers, but a guest's
//!   limit is on the sum of its linear memory, tables, stream buffers and `/tmp`.
//! - Settings without a setter, and an engine constructor that fails instead of panicking.
//! - What compiled code depends on, as one number; compiling without loading the result.
//! - Demangling of the names in a backtrace.
//! - Allocations where the host wants them (`placement.rs`).

mod placement;

use std::ffi::c_void;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroUsize;
use wasmtime::{Config, Engine, Error, ResourceLimiter, Store, WasmBacktraceDetails};
use wasmtime_c_api::{
    WasmtimeStoreData, wasm_config_t, wasm_engine_t, wasmtime_error_t, wasmtime_store_t,
};

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

// The C API's handles are `repr(C)` structs of exactly one field each, private to their crate.
const _: () = assert!(size_of::<wasm_config_t>() == size_of::<Config>());
const _: () = assert!(size_of::<wasm_engine_t>() == size_of::<Engine>());

fn engine_of(engine: &wasm_engine_t) -> &Engine {
    unsafe { &*std::ptr::from_ref(engine).cast::<Engine>() }
}

/// The settings that the C API has no setter for.
///
/// # Safety
/// `config` is a live configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_config_extra(config: *mut wasm_config_t, backtrace_frames: usize) {
    let config = unsafe { &mut *config.cast::<Config>() };
    config.wasm_backtrace_max_frames(NonZeroUsize::new(backtrace_frames));
    // Not by the environment: parsing DWARF is the guest's leverage on the host.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.concurrency_support(false);
}

/// `wasm_engine_new_with_config`, but a configuration that cannot be had is an error and not a panic.
/// Takes `config`.
///
/// # Safety
/// `config` is a live configuration, `out` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_engine_new(
    config: Box<wasm_config_t>,
    out: *mut *mut wasm_engine_t,
) -> Option<Box<wasmtime_error_t>> {
    let config = unsafe { &*std::ptr::from_ref(&*config).cast::<Config>() };
    match Engine::new(config) {
        Ok(engine) => {
            unsafe { *out = Box::into_raw(Box::new(engine)).cast::<wasm_engine_t>() };
            None
        }
        Err(error) => Some(Box::new(wasmtime_error_t::from(error))),
    }
}

/// What compiled code depends on besides the module: engine version, settings, CPU features.
#[unsafe(no_mangle)]
pub extern "C" fn dormouse_engine_fingerprint(engine: &wasm_engine_t) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine_of(engine).precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiles without loading the result, and hands its bytes to `write`.
///
/// # Safety
/// `wasm` points to `len` readable bytes; `write` does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_precompile(
    engine: &wasm_engine_t,
    wasm: *const u8,
    len: usize,
    env: *mut c_void,
    write: extern "C" fn(env: *mut c_void, bytes: *const u8, len: usize) -> bool,
) -> Option<Box<wasmtime_error_t>> {
    let wasm = unsafe { std::slice::from_raw_parts(wasm, len) };
    match engine_of(engine).precompile_module(wasm) {
        Ok(code) => {
            if write(env, code.as_ptr(), code.len()) {
                return None;
            }
            Some(Box::new(wasmtime_error_t::from(Error::msg("write failed"))))
        }
        Err(error) => Some(Box::new(wasmtime_error_t::from(error))),
    }
}

/// Writes no more than fits, and stops what writes into it there: a name of a few bytes can stand for megabytes.
struct Bounded<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.buffer.len() - self.used;
        let take = text.floor_char_boundary(room);
        self.buffer[self.used..self.used + take].copy_from_slice(&text.as_bytes()[..take]);
        self.used += take;
        if take == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Writes the readable form of a mangled Rust or C++ name (as much as fits) and returns its length; 0 if it is neither.
///
/// # Safety
/// `name` points to `len` readable bytes, `out` to `capacity` writable ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_demangle(
    name: *const u8,
    len: usize,
    out: *mut u8,
    capacity: usize,
) -> usize {
    let Ok(name) = std::str::from_utf8(unsafe { std::slice::from_raw_parts(name, len) }) else {
        return 0;
    };
    let buffer = unsafe { std::slice::from_raw_parts_mut(out, capacity) };
    let mut bounded = Bounded { buffer, used: 0 };
    if let Ok(symbol) = rustc_demangle::try_demangle(name) {
        let _ = write!(bounded, "{symbol:#}");
    } else if let Ok(symbol) = cpp_demangle::Symbol::new(name.as_bytes()) {
        let _ = symbol.structured_demangle(&mut bounded, &cpp_demangle::DemangleOptions::new());
    }
    bounded.used
}
