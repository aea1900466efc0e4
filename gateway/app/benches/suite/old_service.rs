//! dgp-oauth2 from PyPI under gunicorn, installed where Python can be had: the service that the gateway
//! replaces.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gateway_token::Algorithm;
use secrecy::ExposeSecret;

use crate::Plan;
use crate::site::{Server, free_address};

/// gunicorn as it is known to work with it; the rest is what pip finds.
const PACKAGES: &[&str] = &["dgp-oauth2==1.3.4", "gunicorn==23.0.0"];
const SERVER: &str = include_str!("old_service/server.py");
const SIGN_IN: &str = include_str!("old_service/sign_in.py");
const PATIENCE: Duration = Duration::from_secs(30);

/// It, serving.
pub(crate) struct OldService {
    pub(crate) server: Server,
    /// A session token of its one user.
    pub(crate) token: String,
    /// Its version and those of what it runs on.
    pub(crate) versions: String,
}

/// Installs it, where that has not been done, and starts it. The inner error says why it cannot be had here.
///
/// # Errors
/// When it was installed and does not serve.
pub(crate) fn start(plan: &Plan) -> Result<Result<OldService, String>> {
    let directory = plan.cache.join("old-service");
    let installed = directory.join("installed");
    if !installed.exists() {
        if let Err(error) = install(&directory) {
            eprintln!("  left out: {error:#}");
            return Ok(Err(format!("it cannot be installed here ({error:#})")));
        }
        fs::write(&installed, "")?;
    }
    serve(&directory).context("dgp-oauth2 does not serve").map(Ok)
}

fn install(directory: &Path) -> Result<()> {
    eprintln!("  installing {}", PACKAGES.join(" and "));
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(directory))?;
    run(Command::new(directory.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES))?;
    Ok(())
}

fn serve(directory: &Path) -> Result<OldService> {
    let bin = directory.join("bin");
    let database = directory.join("users.db");
    if database.exists() {
        fs::remove_file(&database)?;
    }
    fs::write(directory.join("server.py"), SERVER)?;
    fs::write(directory.join("sign_in.py"), SIGN_IN)?;
    let (private, public) = gateway_token::generate_key(Algorithm::RS256)?;
    let configured = |mut command: Command| {
        command
            .current_dir(directory)
            .env("PRIVATE_KEY", private.expose_secret())
            .env("PUBLIC_KEY", &public)
            .env("DATABASE_URL", format!("sqlite:///{}", database.display()))
            .env("ALLOWED_SERVICES", "example:sample_permission_provider");
        command
    };
    let mut sign_in = Command::new(bin.join("python"));
    sign_in.arg("sign_in.py");
    let token = run(&mut configured(sign_in))?;

    let address = free_address()?;
    let mut gunicorn = Command::new(bin.join("gunicorn"));
    gunicorn
        .args(["--workers", "2", "--bind", &address.to_string(), "server:app"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.join("log"))?);
    let mut child = configured(gunicorn).spawn()?;
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("gunicorn: {status}, see {}", directory.join("log").display());
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            bail!("gunicorn does not listen");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(OldService {
        server: Server::at(child, address),
        token,
        versions: versions(&bin)?,
    })
}

fn versions(bin: &Path) -> Result<String> {
    let python = run(Command::new(bin.join("python")).arg("--version"))?;
    let packages = run(Command::new(bin.join("pip")).args(["freeze", "--disable-pip-version-check"]))?;
    let mut versions = vec![python];
    for name in [
        "dgp-oauth2",
        "gunicorn",
        "Flask",
        "SQLAlchemy",
        "PyJWT",
        "cryptography",
    ] {
        let found = packages
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("=="));
        versions.push(format!("{name} {}", found.unwrap_or("of an unknown version")));
    }
    Ok(versions.join(", "))
}

/// The output of a command.
fn run(command: &mut Command) -> Result<String> {
    // Without its directory, since this may get into the report.
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{}: {last}", program.display());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
