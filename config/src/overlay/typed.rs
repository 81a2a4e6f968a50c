//! Keys of a camera as people type them: `labels=["person"]`, `priority=high`, or a file.

use toml::{Table, Value};

/// As TOML for [`protocol::cameras::CameraChange::Set`]. What is no TOML is text: quotes are the shell's.
pub fn camera_keys(file: Option<&str>, pairs: &[String]) -> Result<String, String> {
    let mut keys = file.map(file_keys).transpose()?.unwrap_or_default();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err(format!("`{key}` is not a key; the keys of a camera are in config/samples/edge.toml"));
        }
        let typed = format!("it = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("it"));
        keys.insert(key.to_owned(), typed.unwrap_or_else(|| Value::String(value.to_owned())));
    }
    if keys.is_empty() {
        return Err("name a key and its value, such as labels='[\"person\"]', or --file zone.toml".to_owned());
    }
    toml::to_string(&keys).map_err(|error| error.to_string())
}

/// A camera's keys, also when they stand there as in an edge's file: below `[[cameras]]`, or as `[[cameras.zones]]`.
fn file_keys(text: &str) -> Result<Table, String> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| format!("not TOML: {}", error.message()))?;
    match (table.len(), table.remove("cameras")) {
        (_, None) => Ok(table),
        (1, Some(Value::Table(keys))) => Ok(keys),
        (1, Some(Value::Array(mut cameras))) if cameras.len() == 1 => match cameras.pop() {
            Some(Value::Table(keys)) => Ok(keys),
            _ => Err("[[cameras]] is no section".to_owned()),
        },
        _ => Err("it has more than one camera's keys; write those of one alone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: Option<&str>, pairs: &[&str], toml: &str) {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        assert_eq!(camera_keys(file, &pairs).map(|text| text.replace('\n', ";")), Ok(toml.to_owned()));
    }

    #[test]
    fn what_is_typed_is_toml_or_text() {
        check(None, &["priority=high", "frames_per_s=2.5"], "frames_per_s = 2.5;priority = \"high\";");
        check(None, &["labels=[\"person\"]", "enabled=false"], "enabled = false;labels = [\"person\"];");
        check(None, &["url=rtsp://10.0.0.5/a?b=c"], "url = \"rtsp://10.0.0.5/a?b=c\";");
    }

    #[test]
    fn a_file_has_the_keys_as_they_stand_in_an_edges_own() {
        let zone = "name = \"gate\"\nline = [[0, 0], [1, 1]]";
        for text in [format!("[[zones]]\n{zone}"), format!("[[cameras.zones]]\n{zone}")] {
            check(
                Some(&text),
                &["priority=low"],
                "priority = \"low\";;[[zones]];line = [[0, 0], [1, 1]];name = \"gate\";",
            );
        }
        check(Some("[[cameras]]\nrepeat = true"), &[], "repeat = true;");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for pairs in [&["labels"][..], &["=1"], &["Labels=1"], &[]] {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            assert!(camera_keys(None, &pairs).is_err(), "{pairs:?}");
        }
        assert!(camera_keys(Some("[[cameras]]\nid = \"a\"\n[[cameras]]\nid = \"b\""), &[]).is_err());
    }
}
