//! `docs/benchmarks/README.md` and its plots, from the files that measuring has left.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::de::DeserializeOwned;

use crate::figure::{Samples, Target};
use crate::machine::Machine;
use crate::results::{self, Taken};
use crate::{Plan, Topic, in_process, rates, scale, sign_ins, start, swaps, tails};

/// Renders what there is.
///
/// # Errors
/// When a file cannot be read, or the report cannot be written.
pub(crate) fn write(plan: &Plan) -> Result<()> {
    fs::create_dir_all(&plan.docs)?;
    let mut section = Section::new(&plan.docs);
    let mut report = Report {
        plan,
        machines: Vec::new(),
        section: &mut section,
    };
    report.topic(Topic::Rates, "Rates", rates::section)?;
    report.topic(Topic::Tails, "While a plugin loops", tails::section)?;
    report.topic(Topic::Swaps, "While a plugin is swapped", swaps::section)?;
    report.topic(Topic::Start, "Start and memory", start::section)?;
    report.topic(Topic::SignIns, "Sign-ins", sign_ins::section)?;
    report.topic(Topic::Scale, "Scale", scale::section)?;
    let machines = report.machines;
    section.title("Inside the process");
    in_process::section(&mut section)?;

    let text = format!("{}{}", head(plan, &machines)?, section.text);
    let file = plan.docs.join("README.md");
    fs::write(&file, text)?;
    println!("{}", file.display());
    Ok(())
}

struct Report<'a> {
    plan: &'a Plan,
    machines: Vec<(Topic, Machine)>,
    section: &'a mut Section,
}

impl Report<'_> {
    fn topic<T: DeserializeOwned>(
        &mut self,
        topic: Topic,
        title: &str,
        render: impl FnOnce(&T, &mut Section) -> Result<()>,
    ) -> Result<()> {
        self.section.title(title);
        let Some(taken) = results::read::<T>(self.plan, topic)? else {
            self.section.say(&format!(
                "Not measured yet: `just bench --only {}`.",
                topic.name()
            ));
            return Ok(());
        };
        let Taken {
            machine,
            rounds,
            seconds,
            took,
            results,
        } = taken;
        render(&results, self.section)?;
        self.section.say(&format!(
            "`just bench --only {}`: {rounds} rounds of {seconds} s each, {took:.0} s in all; {} at commit {}.",
            topic.name(),
            machine.date,
            machine.commit
        ));
        self.machines.push((topic, machine));
        Ok(())
    }
}

fn head(plan: &Plan, machines: &[(Topic, Machine)]) -> Result<String> {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `just bench`, which takes ten minutes, from its own measurements and those of \
         `just bench-in-process` and `just bench-instructions`. Do not edit. [Known gaps](limits.md) explains the \
         targets that are not met.\n\n",
    );
    if plan.results != plan.cache {
        text.push_str("**A quick run: the figures mean little.**\n\n");
    }
    let mut seen: Vec<&Machine> = Vec::new();
    for (_, machine) in machines {
        let same = |other: &&Machine| {
            let there = Machine {
                commit: machine.commit.clone(),
                date: machine.date.clone(),
                ..(**other).clone()
            };
            there == *machine
        };
        if !seen.iter().any(same) {
            seen.push(machine);
        }
    }
    for machine in seen {
        writeln!(
            text,
            "| | |\n|---|---|\n| processor | {}, {} cores |\n| memory | {:.0} GB |\n| kernel | {} |\n| compiler | {} |\n\
             | wasmtime | {} |\n| binary | {} |\n",
            machine.processor,
            machine.cores,
            machine.memory as f64 / 1e9,
            machine.kernel,
            machine.rustc,
            machine.wasmtime,
            machine.gateway,
        )?;
    }
    text.push_str(
        "The gateway is the release binary as shipped, with metrics and a request log to a file. Permission tokens are \
         RS256 unless a row says otherwise. The gateway, the servers it is compared with and the load generator share \
         the cores. Both sides of a comparison are measured alternately, in rounds; the first round is a warm-up. A \
         figure is the median of the rounds, beside the smallest and the largest; a ratio is computed within each \
         round. Times and rates depend on the machine; ratios carry over to others.\n",
    );
    Ok(text)
}

/// Markdown, being written.
pub(crate) struct Section {
    directory: PathBuf,
    text: String,
}

impl Section {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            text: String::new(),
        }
    }

    /// The path of a file beside the report.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn title(&mut self, title: &str) {
        self.paragraph(&format!("## {title}"));
    }

    /// A heading below the title.
    pub(crate) fn heading(&mut self, heading: &str) {
        self.paragraph(&format!("### {heading}"));
    }

    /// A paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        self.paragraph(text);
    }

    /// A picture beside the report.
    pub(crate) fn image(&mut self, alternative: &str, file: &str) {
        self.paragraph(&format!("![{alternative}]({file})"));
    }

    /// Figures.
    pub(crate) fn table(&mut self, table: &Table) {
        self.rows(["", "median", "from – to", "target", "met"], &table.0);
    }

    /// Cells under their heads.
    pub(crate) fn rows<const N: usize>(&mut self, head: [&str; N], rows: &[[String; N]]) {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&head.map(str::to_owned));
        text.push_str(&format!("|{}\n", "---|".repeat(N)));
        for row in rows {
            text.push_str(&line(row));
        }
        self.paragraph(text.trim_end());
    }

    fn paragraph(&mut self, text: &str) {
        self.text.push('\n');
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// Figures with their spread, their targets, and whether these are met.
pub(crate) struct Table(Vec<[String; 5]>);

/// How a value is written.
type Write = fn(f64) -> String;

impl Table {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// A figure.
    pub(crate) fn row(&mut self, what: &str, samples: &Samples, write: Write) {
        self.judged(what, samples, write, None);
    }

    /// A ratio.
    pub(crate) fn compare(&mut self, what: &str, ratio: &Samples, target: Option<Target>) {
        self.judged(what, ratio, times, target);
    }

    /// A figure that has a target.
    pub(crate) fn judged(&mut self, what: &str, samples: &Samples, write: Write, target: Option<Target>) {
        let (from, to) = samples.spread();
        let (wanted, met) = target.map_or_else(Default::default, |target| {
            let wanted = match target {
                Target::Least(least) => format!("≥ {}", write(least)),
                Target::Most(most) => format!("≤ {}", write(most)),
            };
            let met = if target.is_met(samples.median()) {
                "yes"
            } else {
                "**no**"
            };
            (wanted, met.to_owned())
        });
        self.0.push([
            what.to_owned(),
            write(samples.median()),
            format!("{} – {}", write(from), write(to)),
            wanted,
            met,
        ]);
    }
}

/// A ratio.
fn times(value: f64) -> String {
    if value < 20.0 {
        format!("{value:.2}")
    } else {
        grouped(value)
    }
}

/// A number per second.
pub(crate) fn rate(value: f64) -> String {
    if value < 20.0 {
        format!("{value:.1}")
    } else {
        grouped(value)
    }
}

/// Milliseconds.
pub(crate) fn ms(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2} ms")
    } else {
        format!("{value:.1} ms")
    }
}

/// Megabytes.
pub(crate) fn megabytes(value: f64) -> String {
    format!("{value:.1} MB")
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
