//! Starting with ten plugins whose code is cached, two of them Python and two JavaScript, beside starting with
//! none.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Setup};
use crate::{Guests, load, ms};

/// How long a gateway is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(2);

/// What one start gave.
struct Start {
    ready: Duration,
    /// Bytes that are resident.
    resident: u64,
    /// Bytes of compiled code and instances' first pages, resident or not.
    code: u64,
}

/// Measures.
///
/// # Errors
/// When the gateway does not start, or a plugin does not answer.
pub(crate) async fn measure(setup: &Setup, guests: &Guests, rounds: usize) -> Result<()> {
    let Guests {
        rust,
        c,
        javascript,
        python,
    } = guests;
    let ten = [
        rust, rust, rust, rust, c, c, javascript, javascript, python, python,
    ];
    let mut configuration = String::new();
    for (number, component) in ten.iter().enumerate() {
        // A component of its own: with a custom section that is like no other's.
        let mut component = component.to_vec();
        component.extend([0, 2, 1, u8::try_from(number)?]);
        let name = format!("roles-{number}");
        setup.place("ten", &name, &component)?;
        writeln!(
            configuration,
            "[service.{name}]\nprovider = \"{name}\"\n[plugin.{name}]\ngrants = [\"config\", \"users\"]\n\
             settings = {{ \"role.reader\" = \"read\", default = \"reader\" }}"
        )?;
    }

    // Compiles.
    start(setup, "ten", &configuration, ten.len()).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(start(setup, "none", "", 0).await?);
        with.push(start(setup, "ten", &configuration, ten.len()).await?);
    }
    println!("Starts, medians of {rounds}, with plugins whose code is cached:");
    println!("| plugins | ready after | resident when idle | compiled code in memory |");
    println!("|---|---|---|---|");
    for (plugins, starts) in [("none", without), ("ten", with)] {
        println!(
            "| {plugins} | {:.0} ms | {:.0} MB | {:.0} MB |",
            median(starts.iter().map(|start| ms(start.ready))),
            median(starts.iter().map(|start| megabytes(start.resident))),
            median(starts.iter().map(|start| megabytes(start.code))),
        );
    }
    println!();
    Ok(())
}

async fn start(setup: &Setup, plugins: &str, configuration: &str, count: usize) -> Result<Start> {
    let begin = Instant::now();
    let gateway = setup.gateway(plugins, configuration).await?;
    let ready = begin.elapsed();
    tokio::time::sleep(IDLE).await;
    let (resident, code) = memory(gateway.child.id())?;
    for number in 0..count {
        let ask = setup::get(
            &format!("/auth/authorize?service=roles-{number}"),
            &setup.tokens[0],
        );
        let answer = load::body_of(gateway.address, &ask).await?;
        ensure!(answer.contains("\"read\":true"), "roles-{number}: {answer}");
    }
    Ok(Start {
        ready,
        resident,
        code,
    })
}

/// Bytes of a process that are resident, and that its files in memory have.
fn memory(process: u32) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .parse()?;
    let mut code = 0;
    for file in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let file = file?.path();
        // It may be closed by now.
        if std::fs::read_link(&file).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:")) {
            code += std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        }
    }
    Ok((resident * 1024, code))
}

#[expect(clippy::cast_precision_loss, reason = "a thousand terabytes are exact")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
