//! `metrics.jsonl` and TensorBoard: the same numbers twice. What an interrupted run wrote beyond its checkpoint is cut off.

use super::RunError;
use super::folder::RunFolder;
use super::tensorboard::Events;
use serde_json::{Map, Number, Value};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Lines stay in memory for at most about this long.
const FLUSH: Duration = Duration::from_secs(1);

/// Where measurements go. Files are opened, and cut, when the first line is written.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    tensorboard: PathBuf,
    length: u64,
    step: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    lines: BufWriter<File>,
    events: Events,
    flushed: Instant,
}

impl Metrics {
    /// To go on at byte `length` of the file, after step `step`; 0 and 0 for a new run.
    ///
    /// # Errors
    /// Where the file is shorter than it was.
    pub(super) fn at(folder: &RunFolder, length: u64, step: u64) -> Result<Metrics, RunError> {
        let path = folder.metrics();
        let there = std::fs::metadata(&path).map_or(0, |m| m.len());
        if there < length {
            return Err(RunError::Changed(format!("`{}` has {there} bytes; the checkpoint was written at {length}", path.display())));
        }
        Ok(Metrics { path, tensorboard: folder.tensorboard(), length, step, open: None })
    }

    fn open(&mut self) -> std::io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
                file.set_len(self.length)?;
                file.seek(SeekFrom::End(0))?;
                let events = Events::create(&self.tensorboard, self.step)?;
                Open { lines: BufWriter::new(file), events, flushed: Instant::now() }
            }
        };
        Ok(self.open.insert(open))
    }

    /// One line: `step`, the values in their order, and what is no number. TensorBoard gets the values under their names, `.` as `/`.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub(super) fn write(&mut self, step: u64, values: &[(String, f64)], more: Map<String, Value>) -> Result<(), RunError> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        for (name, value) in values {
            // JSON has no word for what is not finite.
            line.insert(name.clone(), Number::from_f64(*value).map_or_else(|| Value::String(value.to_string()), Value::Number));
        }
        line.extend(more);
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let tags: Vec<(String, f64)> = values.iter().map(|(name, value)| (name.replace('.', "/"), *value)).collect();
        let path = self.path.clone();
        let late = self
            .open()
            .and_then(|open| {
                open.lines.write_all(text.as_bytes())?;
                open.events.scalars(step, tags.iter().map(|(n, v)| (n.as_str(), *v)))?;
                Ok(open.flushed.elapsed() > FLUSH)
            })
            .map_err(RunError::write(&path))?;
        self.length += text.len() as u64;
        if late { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub(super) fn flush(&mut self) -> Result<(), RunError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.flushed = Instant::now();
        open.lines.flush().and_then(|()| open.events.flush()).map_err(RunError::write(&self.path))
    }

    /// Bytes of `metrics.jsonl` so far, safely on disk.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub(super) fn synced(&mut self) -> Result<u64, RunError> {
        self.flush()?;
        if let Some(open) = &self.open {
            open.lines.get_ref().sync_data().map_err(RunError::write(&self.path))?;
        }
        Ok(self.length)
    }
}
