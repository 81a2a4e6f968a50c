//! Weights: a model's file, read once and checked against its spec before anything parses it.

use crate::Refusal;
use protocol::model::ModelSpec;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;

/// Detectors have 1 to 300 MB. A larger file is refused: this process would be killed for its memory.
pub const WEIGHTS_BYTES_MAX: u64 = 1 << 30;

/// The very bytes that were checked: a file exchanged meanwhile makes no difference.
pub fn read(spec: &ModelSpec) -> Result<Vec<u8>, Refusal> {
    let path = &spec.path;
    let unreadable = |error: std::io::Error| {
        let way_out = "put the file there or correct `path` in the model's spec";
        Refusal(format!("model {} cannot read {path}: {error}; {way_out}", spec.name))
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(WEIGHTS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > WEIGHTS_BYTES_MAX {
        return Err(Refusal(format!("{path} is larger than {WEIGHTS_BYTES_MAX} B; use a smaller model")));
    }
    let found = hexadecimal(&Sha256::digest(&bytes));
    if found != spec.sha256 {
        let expected = &spec.sha256;
        let way_out = "fetch the file again, or correct `sha256` if it was changed on purpose";
        return Err(Refusal(format!("{path} has sha256 {found}, its spec says {expected}; {way_out}")));
    }
    Ok(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yolox::tests::spec;

    /// sha256 of "abc", from FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check(sha256: &str) -> Result<Vec<u8>, Refusal> {
        let folder = tempfile::tempdir().expect("a place for one file");
        let path = folder.path().join("abc.onnx");
        std::fs::write(&path, "abc").expect("room for three bytes");
        read(&ModelSpec { path: path.display().to_string(), sha256: sha256.to_owned(), ..spec() })
    }

    #[test]
    fn a_file_with_the_right_checksum_is_read() {
        assert_eq!(check(ABC), Ok(b"abc".to_vec()));
    }

    #[test]
    fn another_checksum_is_refused_with_both_and_the_way_out() {
        let reason = check(&"0".repeat(64)).expect_err("another file").to_string();
        assert!(reason.contains(ABC) && reason.contains("its spec says 0000"), "{reason}");
        assert!(reason.contains("abc.onnx") && reason.contains("fetch the file again"), "{reason}");
    }

    #[test]
    fn a_missing_file_is_refused_by_its_path() {
        let reason = read(&spec()).expect_err("no such file").to_string();
        assert!(reason.contains("test.onnx") && reason.contains("correct `path`"), "{reason}");
    }
}
