//! `ogive report`: a page from the finished points of sweeps.

use crate::args::Report;
use crate::exit::Exit;
use crate::experiments::failed;
use crate::output;
use crate::report::curve::Curves;
use crate::report::page;
use ogive_train::sweep::Sweep;
use std::collections::BTreeSet;
use std::path::Path;

pub(crate) fn run(args: &Report) -> Result<(), Exit> {
    let mut sweeps = Vec::new();
    for folder in &args.sweeps {
        match Sweep::read(folder).map_err(|e| failed(&e))? {
            Some(sweep) if !sweep.points.is_empty() => sweeps.push(sweep),
            _ => {
                output::error(format!("`{}` holds no finished point of a sweep", folder.display()));
                output::help("a sweep's folder is what `ogive train SPEC --sweep --out FOLDER` wrote");
                return Err(Exit::Data);
            }
        }
    }
    if let Some(unknown) = args.metric.iter().find(|m| !sweeps.iter().any(|s| s.metrics().contains(m))) {
        output::error(format!("`{unknown}` was not measured"));
        let known: BTreeSet<String> = sweeps.iter().flat_map(Sweep::metrics).collect();
        output::help(&format!("measured: {}", known.into_iter().collect::<Vec<_>>().join(", ")));
        return Err(Exit::Usage);
    }
    let keys = |s: &Sweep| s.points.iter().flat_map(|p| p.set.iter().map(|(k, _)| k.clone())).collect::<BTreeSet<String>>();
    if let Some(unknown) = args.against.iter().find(|key| !sweeps.iter().any(|s| keys(s).contains(*key))) {
        output::error(format!("no sweep varies `{unknown}`"));
        let known: BTreeSet<String> = sweeps.iter().flat_map(keys).collect();
        output::help(&format!("varied: {}", known.into_iter().collect::<Vec<_>>().join(", ")));
        return Err(Exit::Usage);
    }
    let mut text = match &args.preface {
        Some(path) => std::fs::read_to_string(path).map_err(|why| unusable("read", path, &why))?,
        None => "# Results\n".to_owned(),
    };
    for sweep in &sweeps {
        let metrics = page::metrics(sweep, &args.metric);
        let curves = args.against.iter().find_map(|key| Curves::of(sweep, key, &metrics));
        let drawn = || curves.as_ref().map_or_else(|| page::picture(sweep, metrics.first()?), |c| Some(c.svg()));
        let mut picture = None;
        if let Some(page) = &args.output
            && let Some(drawn) = drawn()
        {
            let stem = page.file_stem().map_or_else(|| "report".to_owned(), |s| s.to_string_lossy().into_owned());
            let name = format!("{stem}-{}.svg", sweep.experiment);
            let path = page.with_file_name(&name);
            if let Some(folder) = page.parent() {
                std::fs::create_dir_all(folder).map_err(|why| unusable("write", folder, &why))?;
            }
            std::fs::write(&path, drawn).map_err(|why| unusable("write", &path, &why))?;
            picture = Some(name);
        }
        text.push('\n');
        text.push_str(&page::section(sweep, &metrics, curves.as_ref(), picture.as_deref()));
    }
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).map_err(|why| unusable("write", path, &why))?;
            output::note(format!("wrote {}", path.display()));
        }
        None => output::result(text),
    }
    Ok(())
}

fn unusable(verb: &str, path: &Path, why: &std::io::Error) -> Exit {
    output::error(format!("cannot {verb} `{}`: {why}", path.display()));
    Exit::Data
}
