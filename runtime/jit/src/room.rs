//! Memory that kernels work in: aligned to cache lines, and in large pages where the system has them.

use ogive_runtime::Data;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// Size of a large page.
const PAGE: usize = 1 << 21;
/// Alignment of small rooms.
const LINE: usize = 64;

/// Zeroed memory. Large rooms come from the system page by page, as they are first touched.
pub(crate) struct Room {
    start: *mut u8,
    layout: Layout,
    /// What was mapped, where the room is.
    mapped: Option<(*mut u8, usize)>,
}

// Safety: plain memory; who writes which part is the users' matter.
unsafe impl Send for Room {}
// Safety: as above.
unsafe impl Sync for Room {}

impl Room {
    /// At least `bytes`.
    pub(crate) fn new(bytes: u64) -> Room {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).clamp(LINE, isize::MAX as usize - 2 * PAGE).next_multiple_of(LINE);
        let layout = Layout::from_size_align(bytes, LINE).unwrap_or_else(|_| Layout::new::<[u8; LINE]>());
        if bytes >= PAGE
            && let Some((map, all)) = mapped(bytes + PAGE)
        {
            let start = map.wrapping_add(map.align_offset(PAGE));
            large(start, bytes);
            return Room { start, layout, mapped: Some((map, all)) };
        }
        // Safety: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Room { start, layout, mapped: None }
    }

    /// Its first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.layout.size() as u64
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        match self.mapped {
            Some((map, all)) => unmapped(map, all),
            // Safety: allocated with this layout.
            None => unsafe { dealloc(self.start, self.layout) },
        }
    }
}

/// Fresh pages of the system, all zero.
#[cfg(target_os = "linux")]
fn mapped(bytes: usize) -> Option<(*mut u8, usize)> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // Safety: a new private mapping touches nothing that exists.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    (map != libc::MAP_FAILED).then_some((map.cast(), bytes))
}

#[cfg(target_os = "linux")]
fn unmapped(map: *mut u8, bytes: usize) {
    // Safety: the mapping is this room's own, and nothing points into it any more.
    unsafe { libc::munmap(map.cast(), bytes) };
}

#[cfg(not(target_os = "linux"))]
fn mapped(_bytes: usize) -> Option<(*mut u8, usize)> {
    None
}

#[cfg(not(target_os = "linux"))]
fn unmapped(_map: *mut u8, _bytes: usize) {}

/// Asks for large pages under a tensor that was not touched yet.
pub(crate) fn large_pages(data: &mut Data) {
    let (start, bytes) = match data {
        Data::F32(v) => (v.as_mut_ptr().cast::<u8>(), size_of_val(v.as_slice())),
        Data::F64(v) => (v.as_mut_ptr().cast::<u8>(), size_of_val(v.as_slice())),
        Data::I32(v) => (v.as_mut_ptr().cast::<u8>(), size_of_val(v.as_slice())),
        Data::Bool(v) => (v.as_mut_ptr(), v.len()),
    };
    large(start, bytes);
}

/// Asks for large pages within a range; a wish that may go unheard.
fn large(start: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        let lead = start.align_offset(PAGE);
        if bytes >= lead.saturating_add(PAGE) {
            let whole = (bytes - lead) / PAGE * PAGE;
            // Safety: the range lies within memory that the caller owns; the advice changes no content.
            unsafe { libc::madvise(start.wrapping_add(lead).cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}
