//! What general compressors make of a text: the figures that a language model's bits per byte are read against.

use std::io::{self, Write};

/// Counts what is written.
#[derive(Default)]
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bits per byte after gzip at its highest level; `None` for an empty text.
pub fn gzip(text: &[u8]) -> Option<f64> {
    let mut packer = flate2::write::GzEncoder::new(Counter::default(), flate2::Compression::best());
    packer.write_all(text).ok()?;
    bits(packer.finish().ok()?, text)
}

/// Bits per byte after xz at its highest level; `None` for an empty text.
pub fn xz(text: &[u8]) -> Option<f64> {
    let mut packer = lzma_rust2::XzWriter::new(Counter::default(), lzma_rust2::XzOptions::with_preset(9)).ok()?;
    packer.write_all(text).ok()?;
    bits(packer.finish().ok()?, text)
}

fn bits(packed: Counter, text: &[u8]) -> Option<f64> {
    (!text.is_empty()).then(|| packed.0 as f64 * 8.0 / text.len() as f64)
}
