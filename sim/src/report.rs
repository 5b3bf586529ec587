//! What a person reads: stories, timelines, tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use console::{Style, style};
use fencepost_models::fault::{FaultSet, Ledger};
use fencepost_models::property::{Property, PropertySet};
use fencepost_models::trace::hash_name;

use crate::algorithm::{Algorithm, Card, Replayed};
use crate::check::{Checked, Ruling};
use crate::hunt::{Find, Report};
use crate::story::{Line, Look, Story, clock};

/// A number with separators.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, shortened: `21.3 M`.
pub fn rate(number: f64) -> String {
    match number {
        1e9.. => format!("{:.1} G", number / 1e9),
        1e6.. => format!("{:.1} M", number / 1e6),
        1e4.. => format!("{:.0} k", number / 1e3),
        _ => format!("{number:.0}"),
    }
}

/// Who believes that it holds, in words.
fn believers(line: &Line) -> String {
    let names: Vec<_> = line
        .looks
        .iter()
        .enumerate()
        .filter(|(_, look)| matches!(look, Look::Believes | Look::PausedBelieving))
        .map(|(index, _)| fencepost_models::subject::InstanceId(index as u32).to_string())
        .collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("{one} believes it holds"),
        [first, second] => format!("{first} and {second} both believe they hold"),
        many => format!("{} believe they hold", many.join(", ")),
    }
}

fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// A story of so few lines is told whole.
const SHORT: usize = 13;

/// A moment of a story. The same may happen again and again, with nothing to tell between.
#[derive(Debug)]
pub struct Moment<'a> {
    /// What happened, the first time.
    pub line: &'a Line,
    /// How often it happened again.
    pub again: usize,
    /// When it happened last, in nanoseconds of true time.
    pub until: u64,
}

impl Moment<'_> {
    fn text(&self) -> String {
        let text = &self.line.text;
        match self.again {
            0 => text.clone(),
            1 => format!("{text}, and again at {}", clock(self.until)),
            again => format!("{text}, and again {again} times until {}", clock(self.until)),
        }
    }
}

/// What the gist of a story tells: all of it, if it is short; otherwise what is out of the ordinary, and does not go aside
/// from the failure.
pub fn told(story: &Story) -> Vec<Moment<'_>> {
    let is_short = story.lines.len() <= SHORT;
    let matters = |line: &&Line| (line.notable && line.causal) || !line.broken.is_empty();
    let lines: Vec<_> = story.lines.iter().filter(|line| is_short || matters(line)).collect();
    let is_again = |one: &&Line, next: &&Line| {
        one.text == next.text && one.looks == next.looks && one.broken.is_empty() && next.broken.is_empty()
    };
    let runs = lines.chunk_by(is_again);
    runs.map(|run| Moment { line: run[0], again: run.len() - 1, until: run[run.len() - 1].at }).collect()
}

/// The gist of a story: what matters, and who believes what.
pub fn gist(story: &Story) -> String {
    let moments: Vec<_> = told(story).into_iter().map(|moment| (moment.text(), moment.line)).collect();
    let column = moments.iter().map(|(said, _)| width(said)).max().unwrap_or(0).min(76);
    let mut text = String::new();
    let mut before = String::new();
    for (said, line) in moments {
        let now = believers(line);
        let state = if now == before { String::new() } else { now.clone() };
        let said = if line.fault { style(said).yellow() } else { style(said) };
        let mark =
            if line.broken.is_empty() { String::new() } else { format!("  {}", style("◀").red().bold()) };
        let row =
            format!("    {}  {}{mark}  {state}", style(clock(line.at)).dim(), pad(&said.to_string(), column));
        let _ = writeln!(text, "{}", row.trim_end());
        for broken in &line.broken {
            let _ = writeln!(text, "               {}", style(broken).red());
        }
        before = now;
    }
    text
}

/// How many of a story's events the failure comes from, if it is not told whole.
fn needed(story: &Story, events: usize) -> String {
    let fewer = story.causal.filter(|causal| *causal < events && story.lines.len() > SHORT);
    fewer.map_or_else(String::new, |causal| format!(", {causal} of them causal"))
}

/// One find, as a hunt prints it.
pub fn find(find: &Find, card: &Card, file: Option<&str>) -> String {
    let known = match find.group.defect {
        Some(label) => format!("known as {label}"),
        None => style("not a known defect").red().bold().to_string(),
    };
    let (steps, events) = (thousands(find.steps as u64), find.trace.steps.len());
    let shrunk = format!("shrunk from {steps} events to {events}{}", needed(&find.story, events));
    let mut text = format!(
        "\n{} {}    {known} · seed {} · {shrunk}\n",
        style("✗").red().bold(),
        style(find.group.property.sentence()).bold(),
        find.seed,
    );
    if let Some(defect) = card.defects.iter().find(|defect| Some(defect.label) == find.group.defect) {
        let _ = writeln!(text, "  {}", style(defect.sentence).dim());
    }
    text += &gist(&find.story);
    let _ = writeln!(text, "  replay   {}", find.replay);
    if let Some(file) = file {
        let _ = writeln!(text, "  trace    {file}");
    }
    text
}

/// One find without colours, for the message of a failed test.
pub(crate) fn plain_find(find: &Find) -> String {
    let text = format!(
        "{}: {} · seed {} · shrunk from {} events to {}\n{}  replay   {}\n",
        find.group.property,
        find.group.property.sentence(),
        find.seed,
        find.steps,
        find.trace.steps.len(),
        gist(&find.story),
        find.replay,
    );
    console::strip_ansi_codes(&text).into_owned()
}

/// What a hunt came to, after its stories.
pub fn summary(report: &Report, card: &Card) -> String {
    let mut text = String::new();
    if !card.defects.is_empty() {
        text += &defects(report, card);
    }
    let unknown: Vec<_> = report.unknown().collect();
    if !unknown.is_empty() {
        let _ = writeln!(text, "\n{}", style("found but not declared").red().bold());
        for find in unknown {
            let _ = writeln!(
                text,
                "  {:<20} first at seed {}, in {} seeds",
                find.group.property,
                find.group.first(),
                find.group.count
            );
        }
    }
    let seconds = report.elapsed.as_secs_f64().max(1e-9);
    let hours = report.simulated.as_secs_f64() / 3_600.0;
    let _ = writeln!(
        text,
        "\n{} seeds · {} events · {:.0} simulated hours · {:.1} s   ({} seeds/s · {} events/s · {} simulated h/s)",
        thousands(report.seeds),
        thousands(report.events),
        hours,
        seconds,
        rate(report.seeds as f64 / seconds),
        rate(report.events as f64 / seconds),
        rate(hours / seconds),
    );
    let _ = writeln!(text, "hash of all runs {}", hash_name(report.hash));
    if report.interrupted {
        let _ = writeln!(text, "{}", style("interrupted: these are the figures so far").yellow());
    }
    let verdict = if report.is_clean() {
        style("no violation").green().bold().to_string()
    } else {
        let kinds = report.groups.len();
        style(format!("{kinds} kind{} of violation", if kinds == 1 { "" } else { "s" }))
            .red()
            .bold()
            .to_string()
    };
    let _ = writeln!(text, "{verdict}");
    text
}

/// What a hunt came to, in one line of many.
pub fn brief(report: &Report) -> String {
    let verdict = match report.groups.len() {
        0 => style("no violation".to_owned()).green(),
        1 => style("1 kind of violation".to_owned()).red(),
        kinds => style(format!("{kinds} kinds of violation")).red(),
    };
    let unproven = report.ledger.unproven();
    let faults = if unproven.is_empty() {
        "every fault observed".to_owned()
    } else {
        format!("never observed: {}", fault_names(unproven))
    };
    format!(
        "{}  {} seeds · {} events · {:.1} s · {faults} · hash {} · {verdict}\n",
        pad(&style(&report.algorithm).bold().to_string(), 14),
        thousands(report.seeds),
        thousands(report.events),
        report.elapsed.as_secs_f64(),
        hash_name(report.hash),
    )
}

fn defects(report: &Report, card: &Card) -> String {
    let mut text = format!("\n{}\n", style("known defects").bold());
    let _ = writeln!(
        text,
        "  {:<7}{:>8}{:>13}{:>11}{:>8}{:>8}{:>6}   what is wrong",
        "label", "first", "after seeds", "in seeds", "events", "causal", "told"
    );
    for defect in &card.defects {
        let row = match report.find(defect.label) {
            Some(find) => {
                let all = report.groups.iter().filter(|group| group.defect == Some(defect.label));
                let count: u64 = all.map(|group| group.count).max().unwrap_or(0);
                let (seed, events) = (find.group.first(), find.trace.steps.len());
                let (causal, told) = (find.story.causal.unwrap_or(events), told(&find.story).len());
                let found = format!("{seed:>8}{:>13}{:>11}", thousands(find.after), thousands(count));
                format!("{found}{events:>8}{causal:>8}{told:>6}")
            }
            None => format!("{:>8}{:>13}{:>11}{:>8}{:>8}{:>6}", "-", "not found", "-", "-", "-", "-"),
        };
        let _ = writeln!(text, "  {:<7}{row}   {}", style(defect.label).bold(), defect.sentence);
    }
    let found = card.defects.len() - report.missing.len();
    let _ = writeln!(
        text,
        "  found {found} of {} · unknown failures {}",
        card.defects.len(),
        report.unknown().count()
    );
    text
}

/// What went wrong in a run, or in many.
pub fn ledger(ledger: &Ledger, runs: u64) -> String {
    let mut text = format!("{:<16}{:>12}{:>12}{:>12}\n", "fault", "configured", "fired", "observed");
    for (fault, tally) in ledger.rows() {
        let row = format!(
            "{:<16}{:>12}{:>12}{:>12}",
            fault.name(),
            thousands(tally.configured),
            thousands(tally.fired),
            thousands(tally.observed)
        );
        let unproven = tally.configured > 0 && tally.observed == 0;
        let note = if unproven { "   never observed: this run says nothing about it" } else { "" };
        let _ = writeln!(text, "{}{}", row, style(note).yellow());
    }
    if ledger.rows().next().is_none() {
        text = format!("no fault was configured in {runs} run{}\n", if runs == 1 { "" } else { "s" });
    }
    text
}

/// How many lines before the deciding event a timeline shows, unless it shows all.
const CONTEXT: usize = 60;

/// A timeline: a lane for each instance, the time, what happened. Unless it shows all, that is what the failure comes from,
/// if that is known, or what comes before it.
pub fn timeline(story: &Story, all: bool) -> String {
    let lanes = story.lines.iter().map(|line| line.looks.len()).max().unwrap_or(0);
    let names: Vec<_> =
        (0..lanes as u32).map(|id| fencepost_models::subject::InstanceId(id).to_string()).collect();
    let mut text = format!("{:>12}  {}  what happened\n", "time", names.join(" "));
    match story.causal {
        Some(_) if !all => causal_rows(&mut text, story, &names),
        Some(_) | None => plain_rows(&mut text, story, &names, all),
    }
    let _ = writeln!(
        text,
        "\n· idle   ○ waits   ● believes it holds   ◐ holds no more   ‖ paused   ◉ paused, believing   ✗ down"
    );
    text
}

fn plain_rows(text: &mut String, story: &Story, names: &[String], all: bool) {
    let deciding = story.lines.iter().position(|line| !line.broken.is_empty());
    let (first, last) = match deciding {
        Some(_) | None if all => (0, story.lines.len()),
        Some(at) => (at.saturating_sub(CONTEXT), (at + 6).min(story.lines.len())),
        None => (story.lines.len().saturating_sub(CONTEXT), story.lines.len()),
    };
    if first > 0 {
        let _ = writeln!(text, "{:>12}  … {first} events before; --all shows them", "");
    }
    story.lines[first..last].iter().for_each(|line| *text += &timeline_row(line, names));
    if last < story.lines.len() {
        let _ = writeln!(text, "{:>12}  … {} events after; --all shows them", "", story.lines.len() - last);
    }
}

/// So many quiet moments in a row are told as one.
const QUIET: usize = 6;

/// The moments that the failure comes from. Where nothing but polling happens for long, one row says so.
fn causal_rows(text: &mut String, story: &Story, names: &[String]) {
    let lines: Vec<_> = story.lines.iter().filter(|line| line.causal || !line.broken.is_empty()).collect();
    let is_quiet = |line: &Line| !line.notable && !line.fault && line.broken.is_empty();
    for run in lines.chunk_by(|one, next| is_quiet(one) && is_quiet(next)) {
        match run {
            [first, .., last] if run.len() >= QUIET => {
                let (wakes, until) = (wakes(run, names), clock(last.at));
                let row = format!("{} quiet events until {until}{wakes}", run.len());
                let _ =
                    writeln!(text, "{:>12}  {}  … {row}", clock(first.at), " ".repeat(names.join(" ").len()));
            }
            _ => run.iter().for_each(|line| *text += &timeline_row(line, names)),
        }
    }
    let aside = story.lines.iter().filter(|line| line.step.is_some() && !line.causal).count();
    if aside > 0 {
        let _ =
            writeln!(text, "{:>12}  … {aside} events aside, which change nothing here; --all shows them", "");
    }
}

/// How often each has woken.
fn wakes(run: &[&Line], names: &[String]) -> String {
    let count =
        |name: &String| run.iter().filter(|line| line.text.starts_with(&format!("{name} wakes"))).count();
    let counts = names.iter().map(|name| (name, count(name))).filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| format!("; {name} wakes {count} ×")).collect()
}

fn timeline_row(line: &Line, names: &[String]) -> String {
    let lanes: Vec<_> =
        line.looks.iter().zip(names).map(|(look, name)| pad(&paint(*look), width(name))).collect();
    let said = if line.fault { style(&line.text).yellow() } else { style(&line.text) };
    let mut text = format!("{:>12}  {}  {said}", clock(line.at), lanes.join(" "));
    for broken in &line.broken {
        let _ = write!(text, "  {} {}", style("◀").red().bold(), style(broken).red());
    }
    text.push('\n');
    text
}

fn paint(look: Look) -> String {
    let paint = match look {
        Look::Believes | Look::PausedBelieving => Style::new().green().bold(),
        Look::Waits => Style::new().cyan(),
        Look::Down | Look::Paused => Style::new().red(),
        Look::Idle | Look::Leaves => Style::new().dim(),
    };
    paint.apply_to(look.symbol()).to_string()
}

/// What a replay came to.
pub fn replayed(replayed: &Replayed, card: &Card, all: bool) -> String {
    let mut text = timeline(&replayed.story, all);
    text.push('\n');
    text += &ledger(&replayed.outcome.ledger, 1);
    text.push('\n');
    for violation in &replayed.outcome.violations {
        let known = card.label(violation).map_or(String::new(), |label| format!(" (known as {label})"));
        let at = clock(violation.at.as_nanos());
        let _ = writeln!(
            text,
            "{} {} at {at}: {}{known}",
            style("✗").red().bold(),
            style(violation.property.sentence()).bold(),
            violation.sentence()
        );
    }
    if replayed.outcome.violations.is_empty() {
        let _ = writeln!(text, "{}", style("no violation").green().bold());
    }
    let _ = writeln!(
        text,
        "hash {} · {} events",
        hash_name(replayed.outcome.hash),
        thousands(replayed.outcome.events)
    );
    if let Some(divergence) = &replayed.divergence {
        let _ = writeln!(text, "{} {divergence}", style("diverged:").red().bold());
    }
    text
}

/// What an exhaustive check came to: the verdicts, then each failure's story.
pub fn checked(checked: &Checked, card: &Card, files: &[&str], command: &str) -> String {
    let mut text = format!("\n{}\n", style(format!("{} · {}", card.name, checked.case)).bold());
    for row in &checked.rows {
        let ruling = match &row.ruling {
            Ruling::Proved => style("proved   ").green(),
            Ruling::Violated => style("violated ").red().bold(),
            Ruling::Open => style("open     ").yellow(),
            Ruling::Unasked(_) => style("not asked").dim(),
        };
        let question = match &row.ruling {
            Ruling::Unasked(why) => format!("{}: {why}", row.question),
            Ruling::Proved | Ruling::Violated | Ruling::Open => row.question.to_owned(),
        };
        let _ = writeln!(text, "  {:<20} {ruling}  {question}", row.property);
    }
    let seconds = checked.elapsed.as_secs_f64();
    let _ = writeln!(
        text,
        "  {} states · {} generated · depth {} · {seconds:.2} s · {} states/s · {:.1} MiB",
        thousands(checked.states),
        thousands(checked.generated),
        checked.depth,
        rate(checked.states as f64 / seconds.max(1e-9)),
        checked.bytes as f64 / f64::from(1 << 20),
    );
    for (example, file) in checked.counterexamples.iter().zip(files) {
        let known = match example.defect {
            Some(label) => format!("known as {label} · "),
            None if card.defects.is_empty() => String::new(),
            None => format!("{} · ", style("not a known defect").red().bold()),
        };
        let _ = writeln!(
            text,
            "\n{} {}    {known}{} events",
            style("✗").red().bold(),
            style(example.property.sentence()).bold(),
            example.trace.steps.len()
        );
        text += &gist(&example.story);
        let _ = writeln!(text, "  replay   {command} replay {file}");
    }
    let found: BTreeSet<_> = checked.counterexamples.iter().filter_map(|one| one.defect).collect();
    if !found.is_empty() {
        let found: Vec<_> = found.into_iter().collect();
        let _ = writeln!(text, "\nknown defects found here   {}", found.join(" · "));
    }
    let verdict = match checked.stopped {
        Some(why) => style(format!("incomplete: {}; what is open is not proved", why.sentence())).yellow(),
        None if checked.is_violated() => {
            style("violated; every state within these bounds was met".to_owned()).red()
        }
        None => style("proved within these bounds, for unbounded time".to_owned()).green(),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

/// The list of algorithms: a line for each, and what it promises, if that is asked for.
pub fn list<'a>(algorithms: impl Iterator<Item = &'a dyn Algorithm>, with_promises: bool) -> String {
    let mut text = String::new();
    for algorithm in algorithms {
        let card = algorithm.card();
        let labels: Vec<_> = card.defects.iter().map(|defect| defect.label).collect();
        let expected = match labels.as_slice() {
            [] => style("expected clean".to_owned()).green(),
            labels => style(format!("expected broken ({})", labels.join(" "))).red(),
        };
        let name = pad(&style(&card.name).bold().to_string(), 30);
        let commands = if algorithm.check_plan().is_some() { "hunt, check" } else { "hunt" };
        let _ = writeln!(text, "{name}  {} · {expected} · {}", card.about, style(commands).dim());
        if with_promises {
            let _ = writeln!(text, "{:30}  {}", "", style(promises(card)).dim());
        }
    }
    text
}

/// What an algorithm promises, briefly.
fn promises(card: &Card) -> String {
    let missing = PropertySet::all().without(card.promises);
    let names = |set: PropertySet| set.iter().map(Property::name).collect::<Vec<_>>().join(", ");
    match missing.iter().count() {
        0 => "promises all properties".to_owned(),
        1 => format!("promises all properties but {}", names(missing)),
        _ => format!("promises {}", names(card.promises)),
    }
}

/// Names of faults, for a line.
pub fn fault_names(faults: FaultSet) -> String {
    faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
}
