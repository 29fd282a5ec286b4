//! Training into a folder that becomes full, or that may no longer be written: it ends with an error, nothing before is lost, and what
//! resumes once there is room again ends with the same weights, optimiser state and metrics, bit by bit.

use crate::kills::{last, same, text};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A user who is not the administrator: permissions mean nothing to the latter.
const NOBODY: u32 = 65_534;

/// What stops the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wall {
    /// No room is left where the run lies. Needs the right to mount a file system in memory.
    Full,
    /// The run's folders may not be written.
    ReadOnly,
}

/// A file system in memory while it lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, bytes: u64) -> Result<Mounted, String> {
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().map_err(|e| format!("mount: {e}"))?;
        if done.status.success() { Ok(Mounted(at.to_owned())) } else { Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The folder is a temporary one: what cannot be unmounted goes with the machine.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Bytes of the file system in memory: a run of these specs needs less than half.
const ROOM: u64 = 8 << 20;

/// Trains a spec to its end, and again into a wall and on; compares. Gives what the run said at the wall.
///
/// # Errors
/// What differs, what a process says that was let alone, or why there is no wall here.
pub fn check(ogive: &Path, spec: (&str, &str), wall: Wall, checkpoints: usize) -> Result<String, String> {
    let said = |e: std::io::Error| e.to_string();
    let folder = tempfile::tempdir().map_err(said)?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).map_err(said)?;
    let file = folder.path().join("spec.arch");
    fs::write(&file, spec.1).and_then(|()| fs::write(folder.path().join("text.txt"), text())).map_err(said)?;
    let place = folder.path().join("place");
    fs::create_dir(&place).and_then(|()| fs::set_permissions(&place, Permissions::from_mode(0o777))).map_err(said)?;
    let _mounted = match wall {
        Wall::Full => Some(Mounted::new(&place, ROOM)?),
        Wall::ReadOnly => None,
    };
    let (whole, broken) = (folder.path().join("whole"), place.join("run"));
    let administrator = fs::metadata(folder.path()).map_err(said).map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)?;
    let command = |verb: &str, run: &Path| {
        let mut command = Command::new(ogive);
        command.arg(verb);
        if verb == "train" {
            command.arg(&file).arg("--out");
        }
        command.arg(run).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if administrator && wall == Wall::ReadOnly {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let succeeded = |what: &str, output: Output| {
        if output.status.success() { Ok(()) } else { Err(format!("{}: {what}: {}", spec.0, String::from_utf8_lossy(&output.stderr))) }
    };
    succeeded("train", command("train", &whole).output().map_err(said)?)?;

    let child = command("train", &broken).spawn().map_err(said)?;
    let end = Instant::now() + Duration::from_secs(120);
    let found = || fs::read_dir(broken.join("checkpoints")).map_or(0, |d| d.flatten().filter(|e| is_placed(&e.path())).count());
    while found() < checkpoints && Instant::now() < end {
        std::thread::sleep(Duration::from_micros(200));
    }
    let filler = place.join("filler");
    let folders = [broken.join("checkpoints"), broken.clone()];
    match wall {
        Wall::Full => fill(&filler),
        Wall::ReadOnly => folders.iter().try_for_each(|f| fs::set_permissions(f, Permissions::from_mode(0o555))).map_err(said)?,
    }
    let output = child.wait_with_output().map_err(said)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    match wall {
        Wall::Full => fs::remove_file(&filler).map_err(said)?,
        Wall::ReadOnly => folders.iter().rev().try_for_each(|f| fs::set_permissions(f, Permissions::from_mode(0o755))).map_err(said)?,
    }
    if output.status.success() {
        return Err(format!("{}: the run did not notice that nothing could be written", spec.0));
    }
    if output.status.code().is_none() || message.contains("panicked") {
        return Err(format!("{}: ended with {}: {message}", spec.0, output.status));
    }
    last(&broken).map_err(|why| format!("{}: after the wall: {why}", spec.0))?;
    succeeded("resume", command("resume", &broken).output().map_err(said)?)?;
    same(spec.0, &whole, &broken)?;
    Ok(message)
}

fn is_placed(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("step-"))
}

/// Writes until nothing more goes in.
fn fill(path: &Path) {
    let Ok(mut file) = fs::File::create(path) else { return };
    let mut piece = vec![1u8; 1 << 16];
    while !piece.is_empty() {
        while file.write_all(&piece).is_ok() {}
        let less = piece.len() / 16;
        piece.truncate(less);
    }
}
