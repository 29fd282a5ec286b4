//! `ogive explain`: the page of a diagnostic code.

use crate::args::Explain;
use crate::exit::Exit;
use crate::output;
use ogive_lang::explain;

pub(crate) fn run(args: &Explain) -> Result<(), Exit> {
    let Some(asked) = &args.code else {
        let rows: Vec<String> = explain::codes().map(|(code, summary)| format!("{code:<36} {summary}")).collect();
        output::result(rows.join("\n"));
        return Ok(());
    };
    match explain::find(asked) {
        Ok(code) => {
            output::result(explain::page(code).unwrap_or_default());
            Ok(())
        }
        Err(near) => {
            let hint = near.map_or_else(|| "`ogive explain` lists all codes".to_owned(), |n| format!("did you mean `{n}`?"));
            output::error(format!("no code `{asked}`; {hint}"));
            Err(Exit::Usage)
        }
    }
}
