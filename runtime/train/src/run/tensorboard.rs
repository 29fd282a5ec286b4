//! TensorBoard event files: TFRecord frames with masked CRC-32C around protocol buffers of scalars, written by hand.
//!
//! Frame: length (u64), masked CRC of the length, payload, masked CRC of the payload, all little-endian; masked is the CRC rotated
//! right by 15 bits plus 0xa282ead8. Payload: an `Event` with fields wall_time = 1 (double), step = 2 (int64), file_version = 3
//! (string), summary = 5, session_log = 7. A summary holds values = 1 with tag = 1 (string) and simple_value = 2 (float).

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file being written.
#[derive(Debug)]
pub struct Events {
    out: BufWriter<File>,
}

impl Events {
    /// Starts a new file in `folder`. Events of step `from` and later that older files hold are void.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn create(folder: &Path, from: u64) -> std::io::Result<Events> {
        std::fs::create_dir_all(folder)?;
        let file = OpenOptions::new().write(true).create_new(true).open(unused(folder))?;
        let mut events = Events { out: BufWriter::new(file) };
        let mut version = Vec::new();
        text(&mut version, 3, "brain.Event:2");
        events.event(0, &version)?;
        // SessionLog { status: START } makes readers drop what an interrupted run wrote beyond its last checkpoint.
        let mut start = Vec::new();
        bytes(&mut start, 7, &[0x08, 0x01]);
        events.event(from, &start)?;
        Ok(events)
    }

    /// Scalars of a step.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> std::io::Result<()> {
        let mut summary = Vec::new();
        for (tag, number) in values {
            let mut value = Vec::new();
            text(&mut value, 1, tag);
            value.push(2 << 3 | 5);
            value.extend_from_slice(&(number as f32).to_le_bytes());
            bytes(&mut summary, 1, &value);
        }
        let mut content = Vec::new();
        bytes(&mut content, 5, &summary);
        self.event(step, &content)
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    fn event(&mut self, step: u64, content: &[u8]) -> std::io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let mut event = vec![1 << 3 | 1];
        event.extend_from_slice(&now.to_le_bytes());
        event.push(2 << 3);
        varint(&mut event, step);
        event.extend_from_slice(content);
        let length = (event.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(&event)?;
        self.out.write_all(&masked(&event).to_le_bytes())
    }
}

/// A file name that TensorBoard knows, later in its order than those there are.
fn unused(folder: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let name = |n: u64| folder.join(format!("events.out.tfevents.{:010}.ogive.{}", seconds + n, std::process::id()));
    (0..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn text(out: &mut Vec<u8>, field: u8, content: &str) {
    bytes(out, field, content.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Fields = BTreeMap<u64, Vec<Vec<u8>>>;

    fn take_varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = data.split_first().expect("a varint");
            *data = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn decode(mut data: &[u8]) -> Fields {
        let mut fields = Fields::new();
        while !data.is_empty() {
            let key = take_varint(&mut data);
            let content = match key & 7 {
                0 => take_varint(&mut data).to_le_bytes().to_vec(),
                kind => {
                    let length = match kind {
                        1 => 8,
                        5 => 4,
                        _ => take_varint(&mut data) as usize,
                    };
                    let (content, rest) = data.split_at(length);
                    data = rest;
                    content.to_vec()
                }
            };
            fields.entry(key >> 3).or_default().push(content);
        }
        fields
    }

    fn frames(mut data: &[u8]) -> Vec<Fields> {
        let mut out = Vec::new();
        while !data.is_empty() {
            let length = u64::from_le_bytes(data[..8].try_into().expect("8 bytes")) as usize;
            assert_eq!(masked(&data[..8]).to_le_bytes(), data[8..12]);
            assert_eq!(masked(&data[12..12 + length]).to_le_bytes(), data[12 + length..16 + length]);
            out.push(decode(&data[12..12 + length]));
            data = &data[16 + length..];
        }
        out
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        // CRC-32C of "123456789" is 0xe3069283.
        assert_eq!(masked(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn scalars_decode_to_what_was_written() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut events = Events::create(folder.path(), 5)?;
        events.scalars(300, [("loss", 1.5), ("validation/loss", -2.25)])?;
        events.flush()?;
        let file = std::fs::read_dir(folder.path())?.next().expect("a file")?;
        assert!(file.file_name().to_string_lossy().starts_with("events.out.tfevents."));
        let frames = frames(&std::fs::read(file.path())?);
        assert_eq!(frames[0][&3][0], b"brain.Event:2");
        assert_eq!((frames[1][&2][0][0], frames[1][&7][0].as_slice()), (5, [8, 1].as_slice()));
        assert_eq!(frames[2][&2][0], 300u64.to_le_bytes());
        let values: Vec<Fields> = decode(&frames[2][&5][0])[&1].iter().map(|v| decode(v)).collect();
        let read = |v: &Fields| (String::from_utf8_lossy(&v[&1][0]).into_owned(), f32::from_le_bytes(v[&2][0][..].try_into().expect("4")));
        assert_eq!(values.iter().map(read).collect::<Vec<_>>(), [("loss".to_string(), 1.5), ("validation/loss".to_string(), -2.25)]);
        Ok(())
    }

    #[test]
    fn two_files_of_one_second_do_not_meet() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let _first = Events::create(folder.path(), 0)?;
        let _second = Events::create(folder.path(), 0)?;
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 2);
        Ok(())
    }
}
