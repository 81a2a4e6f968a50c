//! Credentials: which three files a person uses, without having to name them.
//!
//!   --cert given: that one, and --key or the same name with .key
//!   else in $WATCHTREE_DIR or ~/.config/watchtree: operator.pem, or the only operator's certificate there,
//!   or where there is none, the only viewer's

use super::Failure;
use super::args::Access;
use protocol::Role;
use protocol::transport::{Credentials, TlsFiles};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Certificates looked at in one directory. An authority with more nodes than this needs `--cert`.
const CANDIDATES_MAX: usize = 500;

const ISSUE_ONE: &str = "issue one with `watchtree ca issue --role operator --name me`";

/// Checked against each other and an operator's or a viewer's.
#[derive(Debug)]
pub(super) struct Found {
    pub credentials: Credentials,
    pub files: TlsFiles,
}

/// `$WATCHTREE_DIR`, else `~/.config/watchtree`.
pub(super) fn own_dir() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("WATCHTREE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let at_home = || std::env::home_dir().map(|home| home.join(".config").join("watchtree"));
    named.or_else(at_home).ok_or_else(|| Failure::new("there is no home directory; set WATCHTREE_DIR"))
}

pub(super) fn find(access: &Access) -> Result<Found, Failure> {
    let dir = own_dir()?;
    let ca = access.ca.clone().unwrap_or_else(|| dir.join("ca.pem"));
    if !ca.exists() {
        let text = format!(
            "no authority's certificate at {}; name it with --ca, or its directory with WATCHTREE_DIR; a new site begins with `watchtree ca init`",
            ca.display()
        );
        return Err(Failure::new(text));
    }
    if let Some(cert) = &access.cert {
        return load(TlsFiles { ca, cert: cert.clone(), key: access.key.clone().unwrap_or_else(|| key_of(cert)) });
    }
    let usual = dir.join("operator.pem");
    if usual.exists() {
        let key = key_of(&usual);
        return load(TlsFiles { ca, cert: usual, key });
    }
    the_only_one(&dir, &ca)
}

fn load(files: TlsFiles) -> Result<Found, Failure> {
    let credentials = Credentials::load(&files).map_err(Failure::new)?;
    let holder = credentials.identity();
    if !is_person(holder.role) {
        let text = format!(
            "{} is the certificate of {holder}, and nodes answer operators and viewers alone; {ISSUE_ONE}",
            files.cert.display()
        );
        return Err(Failure::new(text));
    }
    Ok(Found { credentials, files })
}

fn is_person(role: Role) -> bool {
    matches!(role, Role::Operator | Role::Viewer)
}

/// `me.pem` is found as well as `operator.pem`, as long as nobody has to guess which is meant.
fn the_only_one(dir: &Path, ca: &Path) -> Result<Found, Failure> {
    let certs = candidates(dir).map_err(|why| Failure::new(format!("{}: {why}; {ISSUE_ONE}", dir.display())))?;
    let (mut people, mut fault) = (Vec::new(), None);
    for cert in certs {
        let files = TlsFiles { ca: ca.to_owned(), key: key_of(&cert), cert };
        match Credentials::load(&files) {
            Ok(credentials) if is_person(credentials.identity().role) => people.push(Found { credentials, files }),
            Ok(_) => {}
            // Perhaps the operator's own, expired: better to tell than to find none.
            Err(error) => fault = Some(error.to_string()),
        }
    }
    // Who has both wants to steer.
    let is_operator = |found: &Found| found.credentials.identity().role == Role::Operator;
    let role = if people.iter().any(is_operator) { Role::Operator } else { Role::Viewer };
    people.retain(|found| found.credentials.identity().role == role);
    if people.len() > 1 {
        let names: Vec<String> = people.iter().map(|found| found.files.cert.display().to_string()).collect();
        return Err(Failure::new(format!(
            "there are several {role}s' certificates: {}; choose one with --cert",
            names.join(", ")
        )));
    }
    people.pop().ok_or_else(|| {
        let fault = fault.map(|fault| format!(" ({fault})")).unwrap_or_default();
        Failure::new(format!(
            "no operator's or viewer's certificate in {}{fault}; {ISSUE_ONE}, or name one with --cert",
            dir.display()
        ))
    })
}

/// The `*.pem` that have a key beside them, the authority's aside.
fn candidates(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_pair = |path: &PathBuf| {
        path.extension() == Some(OsStr::new("pem"))
            && path.file_stem() != Some(OsStr::new("ca"))
            && key_of(path).exists()
    };
    let mut certs: Vec<PathBuf> = paths.filter(is_pair).take(CANDIDATES_MAX).collect();
    certs.sort();
    Ok(certs)
}

fn key_of(cert: &Path) -> PathBuf {
    cert.with_extension("key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ca;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A directory with an authority and a certificate for each of `holders`.
    fn site(holders: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        ca::init(dir.path(), "test").expect("a new CA");
        for holder in holders {
            ca::issue(dir.path(), dir.path(), &holder.parse().expect(holder), DAY).expect(holder);
        }
        dir
    }

    fn found(dir: &Path) -> Result<String, String> {
        match the_only_one(dir, &dir.join("ca.pem")) {
            Ok(found) => Ok(found.credentials.identity().to_string()),
            Err(Failure::Failed(text)) => Err(text),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_only_operator_is_found_among_nodes() {
        let site = site(&["main/edge/yard", "main/operator/me", "main/relay/hub"]);
        assert_eq!(found(site.path()), Ok("main/operator/me".to_owned()));
    }

    #[test]
    fn of_two_operators_none_is_guessed() {
        let site = site(&["main/operator/me", "main/operator/you"]);
        assert!(found(site.path()).expect_err("a choice").contains("choose one with --cert"));
    }

    #[test]
    fn a_viewer_is_found_where_nobody_operates() {
        let looking = site(&["main/viewer/guard", "main/edge/yard"]);
        assert_eq!(found(looking.path()), Ok("main/viewer/guard".to_owned()));
        let both = site(&["main/viewer/guard", "main/operator/me"]);
        assert_eq!(found(both.path()), Ok("main/operator/me".to_owned()));
    }

    #[test]
    fn without_an_operator_the_way_out_is_named() {
        let site = site(&["main/edge/yard"]);
        assert!(found(site.path()).expect_err("none").contains("watchtree ca issue --role operator --name me"));
    }

    #[test]
    fn an_edge_is_no_operator() {
        let site = site(&["main/edge/yard"]);
        let path = |name: &str| site.path().join(name);
        let files = TlsFiles { ca: path("ca.pem"), cert: path("yard.pem"), key: path("yard.key") };
        let Err(Failure::Failed(text)) = load(files) else { panic!("an edge was let in") };
        assert!(text.contains("main/edge/yard") && text.contains("--role operator"), "{text}");
    }
}
