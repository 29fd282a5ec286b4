//! The first message leads to the mistake: it underlines the changed line, and what it suggests repairs misspelt words.

use ogive_tests::mistakes::corpus;

#[test]
#[allow(clippy::print_stdout, reason = "the figures, where they are asked for")]
fn first_messages_point_at_mistakes_and_repair_misspellings() {
    let all = corpus();
    assert!(all.len() >= 150, "only {} mistakes", all.len());
    let (mut pointed, mut misspelt, mut repaired) = (0, 0, 0);
    let mut missed = Vec::new();
    for mistake in &all {
        let outcome = mistake.outcome();
        let word = mistake.kind == "misspelt";
        pointed += usize::from(outcome.on_the_line);
        misspelt += usize::from(word);
        repaired += usize::from(word && outcome.repaired);
        if !outcome.on_the_line || word && !outcome.repaired {
            let said = outcome.first.as_deref().unwrap_or("no error");
            missed.push(format!("{} {}: {:?}: {said}", mistake.spec, mistake.kind, mistake.after));
        }
    }
    let share = |n: usize, of: usize| 100.0 * n as f64 / of as f64;
    let (line, repair) = (share(pointed, all.len()), share(repaired, misspelt));
    println!("{} mistakes, {line:.1} % pointed at; {misspelt} misspelt words, {repair:.1} % repaired", all.len());
    println!("{}", missed.join("\n"));
    assert!(line >= 95.0 && repair >= 80.0, "{line:.1} % and {repair:.1} %\n{}", missed.join("\n"));
}
