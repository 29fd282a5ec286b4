//! Checkpoints: whole or not at all, and what is wrong with the others.

use ogive_runtime::{Data, Dim, Tensor};
use ogive_train::run::checkpoint::{self, CheckpointError, MODEL, State, Tensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

type Check = Result<(), Box<dyn std::error::Error>>;

fn tensor(name: &str, values: Vec<f32>) -> Tensor {
    Tensor { dims: vec![Dim { name: name.into(), size: values.len() }], data: Data::F32(values) }
}

fn state(step: u64) -> State {
    let best = Some(checkpoint::Best { step: 3, loss: 0.1 + 0.2 });
    let text = |s: &str| s.to_owned();
    State {
        experiment: text("e"),
        step,
        seed: 1,
        tokens: 9,
        seconds: 1.5,
        metrics: 7,
        best,
        reached: false,
        skipped: 0,
        graph: text("g"),
        data: text("d"),
    }
}

/// Under Miri, which hashes a kilobyte in seconds, there is less of everything.
const KEYS: usize = if cfg!(miri) { 4 } else { 400 };

fn tensors(value: f32) -> BTreeMap<String, Tensor> {
    BTreeMap::from([("a".into(), tensor("model", vec![value; 3])), ("b".into(), tensor("key", vec![value; KEYS]))])
}

fn borrowed(tensors: &BTreeMap<String, Tensor>) -> Tensors<'_> {
    tensors.iter().map(|(n, t)| (n.as_str(), t)).collect()
}

fn write(folder: &Path, step: u64) -> Result<PathBuf, CheckpointError> {
    let (model, optimizer) = (tensors(step as f32), tensors(-1.0));
    checkpoint::write(folder, borrowed(&model), borrowed(&optimizer), &state(step))
}

/// The latest checkpoint's step, and how many were skipped.
fn latest(folder: &Path) -> Result<(u64, usize), CheckpointError> {
    let (path, skipped) = checkpoint::latest(folder)?;
    Ok((checkpoint::verify(&path)?.step, skipped.len()))
}

#[test]
fn what_is_written_is_read_again() -> Check {
    let folder = tempfile::tempdir()?;
    let path = write(folder.path(), 4)?;
    assert_eq!(checkpoint::verify(&path)?, state(4));
    assert_eq!(checkpoint::read(&path.join(MODEL), &tensors(0.0))?, tensors(4.0));
    let files: Vec<_> = fs::read_dir(folder.path())?.flatten().map(|e| e.file_name()).collect();
    assert_eq!(files, ["step-4"]);
    Ok(())
}

#[test]
fn a_checkpoint_of_the_same_step_is_replaced() -> Check {
    let folder = tempfile::tempdir()?;
    write(folder.path(), 4)?;
    let again = tensors(9.0);
    let path = checkpoint::write(folder.path(), borrowed(&again), borrowed(&again), &state(4))?;
    assert_eq!(checkpoint::read(&path.join(MODEL), &tensors(0.0))?, again);
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}

#[test]
fn a_process_killed_at_any_point_of_writing_leaves_the_old_checkpoint() -> Check {
    // The states of the disk that a killed process can leave: any number of whole files and one cut short, under the hidden name;
    // and, in case the system reorders, under the final name too.
    for name in [".writing-9-1", "step-9"] {
        for whole in 0..4 {
            let folder = tempfile::tempdir()?;
            write(folder.path(), 4)?;
            let elsewhere = tempfile::tempdir()?;
            let source = write(elsewhere.path(), 9)?;
            let partial = folder.path().join(name);
            fs::create_dir(&partial)?;
            for (i, file) in ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"].iter().enumerate() {
                let bytes = fs::read(source.join(file))?;
                match i.cmp(&whole) {
                    std::cmp::Ordering::Less => fs::write(partial.join(file), bytes)?,
                    std::cmp::Ordering::Equal => fs::write(partial.join(file), &bytes[..bytes.len() / 2])?,
                    std::cmp::Ordering::Greater => {}
                }
            }
            assert_eq!(latest(folder.path())?, (4, 0), "{name} {whole}");
            checkpoint::sweep(folder.path());
            assert!(!folder.path().join(".writing-9-1").exists());
        }
    }
    Ok(())
}

#[test]
fn every_truncation_of_every_file_is_noticed() -> Check {
    let folder = tempfile::tempdir()?;
    write(folder.path(), 4)?;
    let path = write(folder.path(), 9)?;
    for file in ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"] {
        let bytes = fs::read(path.join(file))?;
        for length in [0, 1, 7, 8, 9, bytes.len() / 2, bytes.len() - 1] {
            fs::write(path.join(file), &bytes[..length])?;
            let why = checkpoint::verify(&path).err().ok_or("it passed")?;
            assert_eq!(why.code(), "arch::checkpoint::damaged", "{file} {length}: {why}");
            assert_eq!(latest(folder.path())?.0, 4);
        }
        fs::remove_file(path.join(file))?;
        assert_eq!(checkpoint::verify(&path).err().ok_or("it passed")?.code(), "arch::checkpoint::damaged");
        fs::write(path.join(file), bytes)?;
    }
    assert_eq!(latest(folder.path())?, (9, 0));
    Ok(())
}

#[test]
fn one_changed_bit_is_noticed_and_the_one_before_is_taken() -> Check {
    let folder = tempfile::tempdir()?;
    write(folder.path(), 4)?;
    let path = write(folder.path(), 9)?;
    let mut bytes = fs::read(path.join(MODEL))?;
    *bytes.last_mut().ok_or("empty")? ^= 1;
    fs::write(path.join(MODEL), bytes)?;
    let why = checkpoint::verify(&path).err().ok_or("it passed")?;
    assert!(why.to_string().contains("the content of `model.safetensors`"), "{why}");
    assert_eq!(latest(folder.path())?, (4, 1));
    Ok(())
}

#[test]
fn a_renamed_checkpoint_says_whose_it_is() -> Check {
    let folder = tempfile::tempdir()?;
    let path = write(folder.path(), 4)?;
    let renamed = folder.path().join("step-40");
    fs::rename(path, &renamed)?;
    assert!(matches!(checkpoint::verify(&renamed), Err(CheckpointError::Renamed { step: 4, .. })));
    assert!(matches!(checkpoint::latest(folder.path()), Err(CheckpointError::None(_))));
    let elsewhere = folder.path().join("best");
    fs::rename(renamed, &elsewhere)?;
    assert_eq!(checkpoint::verify(&elsewhere)?.step, 4);
    Ok(())
}

#[test]
fn tensors_of_another_model_are_named_with_both_dims() -> Check {
    let folder = tempfile::tempdir()?;
    let path = write(folder.path(), 4)?.join(MODEL);
    let mut other = tensors(0.0);
    other.insert("a".into(), tensor("model", vec![0.0; 5]));
    other.insert("c".into(), tensor("model", vec![0.0; 5]));
    let b = other.remove("b").ok_or("no b")?;
    let why = checkpoint::read(&path, &other).err().ok_or("it was read")?.to_string();
    for part in
        ["its `a` is [model: 3], the model's is [model: 5]", "it has no `c` [model: 5]", &format!("it has `b` [key: {KEYS}], which")]
    {
        assert!(why.contains(part), "{why}");
    }
    let renamed = BTreeMap::from([
        ("a".into(), tensors(0.0)["a"].clone()),
        ("b".into(), Tensor { dims: tensor("value", vec![0.0; KEYS]).dims, ..b }),
    ]);
    let why = checkpoint::read(&path, &renamed).err().ok_or("it was read")?.to_string();
    assert!(why.contains(&format!("its `b` is [key: {KEYS}], the model's is [value: {KEYS}]")), "{why}");
    Ok(())
}

#[test]
fn a_manifest_that_points_elsewhere_is_refused() -> Check {
    let folder = tempfile::tempdir()?;
    let path = write(folder.path(), 4)?;
    let text = fs::read_to_string(path.join("manifest.json"))?;
    fs::write(path.join("manifest.json"), text.replace("\"files\": {", "\"files\": {\"../secret\": {\"bytes\": 1, \"sha256\": \"\"},"))?;
    let why = checkpoint::verify(&path).err().ok_or("it passed")?;
    assert!(why.to_string().contains("../secret"), "{why}");
    Ok(())
}

#[test]
fn a_manifest_of_any_size_is_not_swallowed() -> Check {
    let folder = tempfile::tempdir()?;
    let path = write(folder.path(), 4)?;
    fs::File::options().write(true).open(path.join("manifest.json"))?.set_len(1 << 40)?;
    assert_eq!(checkpoint::verify(&path).err().ok_or("it passed")?.code(), "arch::checkpoint::unreadable");
    Ok(())
}

#[test]
fn pruning_keeps_the_latest_and_the_best() -> Check {
    let folder = tempfile::tempdir()?;
    for step in [1, 2, 3, 10, 20] {
        write(folder.path(), step)?;
    }
    checkpoint::prune(folder.path(), 2, Some(2));
    let steps: Vec<u64> = checkpoint::list(folder.path()).iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [2, 10, 20]);
    Ok(())
}

/// The body of [`a_full_disk_leaves_earlier_checkpoints_and_no_litter`], run again under a limit on the size of files.
#[test]
#[ignore = "run by a_full_disk_leaves_earlier_checkpoints_and_no_litter, which sets the limit"]
fn write_under_a_limit() -> Check {
    let folder = PathBuf::from(std::env::var("OGIVE_TEST_FOLDER")?);
    let large = BTreeMap::from([("a".to_owned(), tensor("model", vec![1.0; 100_000]))]);
    let why = checkpoint::write(&folder, borrowed(&large), borrowed(&large), &state(9)).err().ok_or("it was written")?;
    assert_eq!(why.code(), "arch::checkpoint::write");
    assert!(why.to_string().contains("step 9") && why.to_string().contains("earlier checkpoints are intact"), "{why}");
    Ok(())
}

#[cfg(unix)]
#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_full_disk_leaves_earlier_checkpoints_and_no_litter() -> Check {
    let folder = tempfile::tempdir()?;
    write(folder.path(), 4)?;
    // The limit stands in for a full disk: writing beyond it fails in the middle of a file.
    let run = std::process::Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" --ignored --exact write_under_a_limit"])
        .arg(std::env::current_exe()?)
        .env("OGIVE_TEST_FOLDER", folder.path())
        .output()?;
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(latest(folder.path())?, (4, 0));
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}
