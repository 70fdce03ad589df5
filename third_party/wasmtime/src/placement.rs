// SPDX-License-Identifier: Apache-2.0
//! What the engine allocates for one guest or one module goes where the host can page it out.
//!
//! The host reserves a range of addresses, cut into slots of equal size, and names an arena in one of them while this
//! thread loads a module, or makes a store and an instance. Allocations of that time come from the arena one behind the other; freed, they
//! are only counted, so that the host knows when nothing in the slot is in use any more. Whatever outlives its store
//! (something the engine keeps for all) thus keeps its slot from being used again, and never dangles.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// `dormouse_arena_t` of `wasmtime_extra.h`.
#[repr(C)]
pub struct Arena {
    next: usize,
    end: usize,
    /// Smaller allocations stay on the heap.
    least: usize,
}

thread_local! {
    static ARENA: Cell<*mut Arena> = const { Cell::new(null_mut()) };
}
// Written once, before the first arena is named.
static BASE: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static SLOT_BYTES: AtomicUsize = AtomicUsize::new(1);
static LIVE: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

/// # Safety
/// `live` points to one counter for each slot, and stays. Once, before any other thread allocates in a slot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_arenas_reserve(base: usize, slot_bytes: usize, slots: usize, live: *mut AtomicU32) {
    LIVE.store(live, Relaxed);
    SLOT_BYTES.store(slot_bytes, Relaxed);
    BASE.store(base, Relaxed);
    BYTES.store(slot_bytes * slots, Relaxed);
}

/// This thread allocates from `arena` (null: from the heap) until the next such call.
///
/// # Safety
/// `arena` lies in a reserved slot, holds zeros from `next` on, and is nobody else's meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dormouse_arena_fill(arena: *mut Arena) {
    ARENA.set(arena);
}

fn slot_of(at: *mut u8) -> Option<usize> {
    let offset = (at as usize).wrapping_sub(BASE.load(Relaxed));
    (offset < BYTES.load(Relaxed)).then(|| offset / SLOT_BYTES.load(Relaxed))
}

unsafe fn count_of(slot: usize) -> &'static AtomicU32 {
    unsafe { &*LIVE.load(Relaxed).add(slot) }
}

/// Zeros, or null: no arena, or no room in it.
fn place(layout: Layout) -> *mut u8 {
    let arena = ARENA.get();
    if arena.is_null() {
        return null_mut();
    }
    let arena = unsafe { &mut *arena };
    if layout.size() < arena.least {
        return null_mut();
    }
    let at = arena.next.next_multiple_of(layout.align());
    match at.checked_add(layout.size()) {
        Some(next) if next <= arena.end => {
            arena.next = next;
            let at = at as *mut u8;
            if let Some(slot) = slot_of(at) {
                unsafe { count_of(slot) }.fetch_add(1, Relaxed);
            }
            at
        }
        _ => null_mut(),
    }
}

struct Placing;

unsafe impl GlobalAlloc for Placing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = place(layout);
        if at.is_null() { unsafe { System.alloc(layout) } } else { at }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let at = place(layout);
        if at.is_null() { unsafe { System.alloc_zeroed(layout) } } else { at }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match slot_of(at) {
            // Release and acquire with whoever uses the slot next: the last look at its memory is before that.
            Some(slot) => {
                unsafe { count_of(slot) }.fetch_sub(1, std::sync::atomic::Ordering::Release);
            }
            None => unsafe { System.dealloc(at, layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if slot_of(at).is_none() {
            return unsafe { System.realloc(at, layout, bytes) };
        }
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(bytes, layout.align())) };
        if !moved.is_null() {
            unsafe {
                moved.copy_from_nonoverlapping(at, layout.size().min(bytes));
                self.dealloc(at, layout);
            }
        }
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Placing = Placing;
