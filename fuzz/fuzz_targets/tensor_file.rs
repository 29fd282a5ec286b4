//! Any bytes are read as a tensor file; what can be read is no larger than the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ogive_runtime::files;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("ogive-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).expect("a file");
    if let Ok(tensors) = files::read(&path) {
        let read: u64 = tensors.values().map(|t| t.len() as u64 * t.dtype().bytes()).sum();
        assert!(read <= 4 * bytes.len() as u64, "{read} bytes from a file of {}", bytes.len());
    }
});
