//! Join: how a new box gets its certificate, once, with a token.
//!
//!   NAME.key.joining ──request, token──▶ relay ──▶ NAME.pem, ca.pem ──▶ NAME.key.joining becomes NAME.key
//!
//! The key is made here and stays here. It keeps its first name until the join is done: whoever is cut off half way,
//! or loses the answer, runs the same command again. No file is ever overwritten.

use actors::fabric::facts::SOFTWARE;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use config::HostPort;
use protocol::enrol::{JoinDown, JoinUp, Refusal, Token, certificate_sha256};
use protocol::transport::{self, Credentials, TlsFiles};
use protocol::{Identity, Role, Timestamp, csr};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub const HELP: &str = "\
An operator makes the token: `watchtree token create --role ROLE --name NAME`. The relay is known by what is in the
token: no certificate has to be copied. Asked again after a lost answer, it goes on where it was.
With - instead of TOKEN it is read from standard input, where no list of processes shows it.";

/// Less is the time that an answer takes.
const SKEW_TOLD: Duration = Duration::from_secs(2);

/// A token has two hundred characters.
const TOKEN_BYTES_MAX: u64 = 4096;

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// What the operator was given; - reads it from standard input
    pub token: String,
    /// The relay
    #[arg(value_name = "HOST:PORT")]
    pub at: HostPort,
    /// Where to put the key and the two certificates
    #[arg(long, value_name = "DIR", default_value = "tls")]
    pub dir: PathBuf,
}

/// As a node of `role`; says on stdout what to do next, or on stderr why not.
pub fn run(args: &JoinArgs, role: Role) -> ExitCode {
    match join(args, role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("watchtree-{role} join: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn join(args: &JoinArgs, role: Role) -> anyhow::Result<()> {
    let token = read_token(&args.token)?;
    let place = Place::new(&args.dir, &token.who);
    std::fs::create_dir_all(&args.dir).with_context(|| place.unwritable())?;
    place.check(&token)?;
    if place.finish_earlier()? {
        return tell(&place, &token, &args.at);
    }
    let key = place.key()?;
    let csr = csr::for_key(&key, role).map_err(|why| anyhow!("{}: {why}", place.unfinished.display()))?;
    let up = JoinUp { token: token.to_string(), csr, now: Timestamp::now(), software: SOFTWARE.to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = Timestamp::now();
    match runtime.block_on(transport::join(&token, &args.at.host, args.at.port, &up))? {
        JoinDown::Joined { certificate_pem, ca_pem, now } => {
            tell_skew(asked, Timestamp::now(), now);
            place.fill(&token, &certificate_pem, &ca_pem)?;
            tell(&place, &token, &args.at)
        }
        JoinDown::Refused(refusal) => {
            // This token will never let this key in; a new one is made for the next.
            if !matches!(refusal, Refusal::Busy | Refusal::Unwell(_) | Refusal::NoAuthority) {
                let _ = std::fs::remove_file(&place.unfinished);
            }
            bail!("{} lets this box not in: {refusal}", args.at)
        }
    }
}

fn read_token(text: &str) -> anyhow::Result<Token> {
    if text != "-" {
        return Ok(text.parse()?);
    }
    let mut line = String::new();
    std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut line).context("standard input")?;
    Ok(line.parse()?)
}

/// The files of one node in one directory.
struct Place {
    dir: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    /// The key, until there is a certificate for it.
    unfinished: PathBuf,
}

impl Place {
    fn new(dir: &Path, who: &Identity) -> Self {
        let path = |end: &str| dir.join(format!("{}{end}", who.name));
        let (cert, key, unfinished) = (path(".pem"), path(".key"), path(".key.joining"));
        Self { dir: dir.to_owned(), cert, key, ca: dir.join("ca.pem"), unfinished }
    }

    fn unwritable(&self) -> String {
        format!("{} cannot be written; name a directory that this user may write with --dir", self.dir.display())
    }

    /// Refuses before the token is spent on what could not be kept.
    fn check(&self, token: &Token) -> anyhow::Result<()> {
        let taken = |path: &Path| path.symlink_metadata().is_ok();
        let blocking = if taken(&self.key) { Some(&self.key) } else { None };
        let blocking = blocking.or_else(|| (taken(&self.cert) && !taken(&self.unfinished)).then_some(&self.cert));
        if let Some(path) = blocking {
            bail!("{} exists and is never overwritten; move it away, or name another --dir", path.display());
        }
        match std::fs::read_to_string(&self.ca) {
            Ok(pem) if certificate_sha256(&pem) != Some(token.ca_sha256) => {
                bail!("{} is of another site than the token; name another --dir", self.ca.display())
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be read", self.ca.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whether an earlier join got as far as its certificate.
    fn finish_earlier(&self) -> anyhow::Result<bool> {
        let is_there = self.cert.exists();
        if is_there {
            self.move_key()?;
        }
        Ok(is_there)
    }

    /// That of an earlier join which was cut off, or a new one.
    fn key(&self) -> anyhow::Result<String> {
        match std::fs::read_to_string(&self.unfinished) {
            Ok(key) if csr::for_key(&key, Role::Edge).is_ok() => return Ok(key),
            // Half written, and never used.
            Ok(_) => std::fs::remove_file(&self.unfinished).with_context(|| self.unwritable())?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{}", self.unfinished.display())),
        }
        let key = csr::new_key().map_err(|why| anyhow!("no key can be made: {why}"))?;
        write_new(&self.unfinished, &key, 0o600)?;
        Ok(key)
    }

    fn fill(&self, token: &Token, certificate_pem: &str, ca_pem: &str) -> anyhow::Result<()> {
        if certificate_sha256(ca_pem) != Some(token.ca_sha256) {
            bail!("the relay sent the certificate of another CA than the token's; nothing was kept of it");
        }
        if !self.ca.exists() {
            write_new(&self.ca, ca_pem, 0o644)?;
        }
        write_new(&self.cert, certificate_pem, 0o644)?;
        let files = TlsFiles { ca: self.ca.clone(), cert: self.cert.clone(), key: self.unfinished.clone() };
        let checked = Credentials::load(&files).map_err(anyhow::Error::from).and_then(|credentials| {
            let got = credentials.identity();
            if *got == token.who { Ok(()) } else { Err(anyhow!("it is of {got} and not of {}", token.who)) }
        });
        if let Err(why) = checked {
            // Ours, made a moment ago: it is of no use and would block the next try.
            let _ = std::fs::remove_file(&self.cert);
            return Err(why.context("the relay sent a certificate that is not in order"));
        }
        self.move_key()
    }

    /// A link and not a renaming: that would overwrite what somebody put there meanwhile.
    fn move_key(&self) -> anyhow::Result<()> {
        std::fs::hard_link(&self.unfinished, &self.key).with_context(|| format!("{}", self.key.display()))?;
        std::fs::remove_file(&self.unfinished).with_context(|| format!("{}", self.unfinished.display()))?;
        std::fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).with_context(|| self.unwritable())
    }
}

/// Exclusive creation with the final mode: a key is at no instant readable by others.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

fn tell(place: &Place, token: &Token, at: &HostPort) -> anyhow::Result<()> {
    let Place { cert, key, ca, .. } = place;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let mut text = format!(
        "{} joined.\n{}: its certificate, which it renews by itself\n{}: the key to it; it stays on this box\n\
         {}: the authority's certificate\nNext, in its configuration:\n\n\
         [tls]\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
        token.who,
        cert.display(),
        key.display(),
        ca.display(),
        absolute(ca),
        absolute(cert),
        absolute(key)
    );
    if token.who.role != Role::Relay {
        text += &format!("\n[link]\nrelay = \"{at}\"\n");
    }
    std::io::stdout().write_all(text.as_bytes()).context("stdout")
}

/// Both clocks at the same moment, as far as the way there and back lets tell.
fn tell_skew(asked: Timestamp, answered: Timestamp, theirs: Timestamp) {
    let (ahead, behind) = (asked.since(theirs), theirs.since(answered));
    if ahead > SKEW_TOLD || behind > SKEW_TOLD {
        let (span, word) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
        let span_s = span.as_secs();
        eprintln!(
            "This box's clock is {span_s} s {word} the relay's; certificates tolerate 600 s. Let it be set by NTP."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ca::{self, Authority};
    use protocol::csr::Csr;
    use protocol::enrol::{TOKEN_ID_BYTES, TOKEN_SECRET_BYTES};
    use std::os::unix::fs::PermissionsExt;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct Fixture {
        dir: tempfile::TempDir,
        authority: Authority,
        token: Token,
        place: Place,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            ca::init(&dir.path().join("ca"), "test").expect("a CA");
            let authority = Authority::load(&dir.path().join("ca")).expect("a CA");
            let who: Identity = "main/edge/yard".parse().expect("an identity");
            let place = Place::new(dir.path(), &who);
            let (id, secret) = ([1; TOKEN_ID_BYTES], [2; TOKEN_SECRET_BYTES]);
            let token = Token { who, id, secret, ca_sha256: authority.sha256() };
            Self { dir, authority, token, place }
        }

        /// What the relay would answer.
        fn certificate(&self, key: &str, who: &str) -> String {
            let csr = Csr::read(&csr::for_key(key, Role::Edge).expect("a key")).expect("is read");
            self.authority.sign(&who.parse().expect("an identity"), &csr, None, DAY).expect("is signed")
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.dir.path()).expect("is there").flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.retain(|name| name != "ca");
            names.sort();
            names
        }
    }

    #[test]
    fn a_key_is_its_owners_alone_and_the_same_until_the_join_is_done() {
        let site = Fixture::new();
        let key = site.place.key().expect("is made");
        let mode = std::fs::metadata(&site.place.unfinished).expect("is there").permissions().mode() & 0o777;
        assert_eq!((mode, site.place.key().expect("is read")), (0o600, key.clone()));
        let pem = site.certificate(&key, "main/edge/yard");
        site.place.fill(&site.token, &pem, site.authority.pem()).expect("is in order");
        assert_eq!(site.names(), ["ca.pem", "yard.key", "yard.pem"]);
        assert_eq!(std::fs::read_to_string(&site.place.key).expect("is there"), key);
        let again = site.place.check(&site.token).expect_err("it has joined").to_string();
        assert!(again.contains("yard.key exists and is never overwritten"), "{again}");
    }

    #[test]
    fn a_join_that_was_cut_off_after_its_certificate_is_finished() {
        let site = Fixture::new();
        let key = site.place.key().expect("is made");
        let pem = site.certificate(&key, "main/edge/yard");
        std::fs::write(&site.place.cert, &pem).expect("is written");
        site.place.check(&site.token).expect("it may go on");
        assert!(site.place.finish_earlier().expect("can be finished"));
        assert_eq!(site.names(), ["yard.key", "yard.pem"]);
    }

    #[test]
    fn half_a_key_is_made_anew() {
        let site = Fixture::new();
        std::fs::write(&site.place.unfinished, "-----BEGIN PRIV").expect("is written");
        assert!(csr::for_key(&site.place.key().expect("is made"), Role::Edge).is_ok());
    }

    #[test]
    fn a_certificate_that_is_not_in_order_is_not_kept_and_the_key_is() {
        let (site, other) = (Fixture::new(), Fixture::new());
        let key = site.place.key().expect("is made");
        for (pem, ca) in [
            (site.certificate(&key, "main/edge/gate"), site.authority.pem()),
            (other.certificate(&key, "main/edge/yard"), site.authority.pem()),
            (other.certificate(&key, "main/edge/yard"), other.authority.pem()),
        ] {
            site.place.fill(&site.token, &pem, ca).expect_err("it is not in order");
            assert!(!site.place.cert.exists() && !site.place.key.exists());
            assert_eq!(site.place.key().expect("is still there"), key);
        }
    }

    #[test]
    fn what_is_there_is_refused_before_the_token_is_spent() {
        let (site, other) = (Fixture::new(), Fixture::new());
        std::fs::write(&site.place.ca, other.authority.pem()).expect("is written");
        let refused = site.place.check(&site.token).expect_err("another site").to_string();
        assert!(refused.contains("ca.pem is of another site"), "{refused}");
        std::fs::remove_file(&site.place.ca).expect("is there");
        std::fs::write(&site.place.cert, "precious").expect("is written");
        let refused = site.place.check(&site.token).expect_err("something is there").to_string();
        assert!(refused.contains("yard.pem exists"), "{refused}");
    }
}
