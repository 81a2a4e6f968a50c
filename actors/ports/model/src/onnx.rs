//! Onnx: is this file an ONNX model at all?
//!
//! Walks the outermost protobuf message: every field must lie within the file and a graph must be among them.
//! Asked before a parser is: rten 0.27 seeks backwards over a field of absurd length and never returns.

/// Fields of ONNX's ModelProto that every model has.
const IR_VERSION: u64 = 1;
const GRAPH: u64 = 7;

/// A varint has at most this many bytes of seven bits.
const VARINT_BYTES_MAX: usize = 10;

/// Why `file` is none; files that pass may still hold what no engine runs.
pub fn check(file: &[u8]) -> Result<(), String> {
    let (mut version, mut graph) = (false, false);
    let mut rest = file;
    while !rest.is_empty() {
        let at = file.len() - rest.len();
        let number = field(&mut rest).ok_or_else(|| format!("it makes no sense from byte {at} on"))?;
        version |= number == IR_VERSION;
        graph |= number == GRAPH;
    }
    if version && graph { Ok(()) } else { Err("it has no version or no graph".to_owned()) }
}

/// Takes one field off the front and returns its number.
fn field(rest: &mut &[u8]) -> Option<u64> {
    let tag = varint(rest)?;
    let bytes = match tag & 7 {
        0 => varint(rest).map(|_| 0)?,
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        // Groups were abandoned before ONNX was made.
        _ => return None,
    };
    *rest = rest.get(bytes..)?;
    Some(tag >> 3)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let length = rest.iter().take(VARINT_BYTES_MAX).position(|byte| byte & 0x80 == 0)? + 1;
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    // Bits beyond 64 are dropped, as protobuf says.
    Some(bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARES: &[u8] = include_bytes!("../../../../config/models/squares.onnx");

    #[track_caller]
    fn check_refused(file: &[u8], reason: &str) {
        let error = check(file).expect_err("no model");
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_model_passes() {
        assert_eq!(check(SQUARES), Ok(()));
    }

    #[test]
    fn a_model_cut_anywhere_does_not() {
        for bytes in 0..SQUARES.len() {
            // Cut between two fields it is a message still, without the graph or with all that counts.
            let cut = check(&SQUARES[..bytes]);
            assert!(cut.is_err() || bytes > SQUARES.len() - 16, "cut at {bytes}");
        }
    }

    #[test]
    fn a_length_beyond_the_file_is_refused() {
        check_refused(&[0x08, 8, 0x3A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], "from byte 2 on");
        check_refused(&[0x08, 8, 0x3A, 5, 0], "from byte 2 on");
        check_refused(&[0xFF; 64], "from byte 0 on");
    }

    #[test]
    fn other_files_are_refused() {
        check_refused(b"", "no graph");
        check_refused(b"<html>404 Not Found</html>", "from byte 0 on");
        check_refused(&[0x08, 8], "no graph");
    }
}
