//! Memory that kernels work in: aligned to cache lines, and in large pages where the system has them.

use ogive_runtime::Data;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Size of a large page.
const PAGE: usize = 1 << 21;
/// Alignment of small rooms.
const LINE: usize = 64;

/// Zeroed memory.
pub(crate) struct Room {
    start: *mut u8,
    layout: Layout,
}

// Safety: plain memory; who writes which part is the users' matter.
unsafe impl Send for Room {}
// Safety: as above.
unsafe impl Sync for Room {}

impl Room {
    /// At least `bytes`.
    pub(crate) fn new(bytes: u64) -> Room {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).clamp(LINE, isize::MAX as usize - PAGE);
        let align = if bytes >= PAGE { PAGE } else { LINE };
        let layout = Layout::from_size_align(bytes.next_multiple_of(LINE), align).unwrap_or_else(|_| Layout::new::<[u8; LINE]>());
        // Safety: the layout is not empty.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        large(start, layout.size());
        // Safety: all of it was just allocated.
        unsafe { start.write_bytes(0, layout.size()) };
        Room { start, layout }
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
        // Safety: allocated with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}

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
