//! What a power cut leaves: a file as long as it was to be, whose last bytes never reached the disk.

use super::{FRAGMENT_BYTES_MAX, FragmentInfo, MOOF_BYTES_MAX, Scan, moof};
use std::io::{self, Read, Seek, SeekFrom};

/// A fragment whose pictures are together no larger than they may be, and its sound beside them.
const WHOLE_BYTES_MAX: usize = 2 * FRAGMENT_BYTES_MAX + MOOF_BYTES_MAX;

impl Scan {
    /// Forgets fragments at the end whose pictures are not on the disk, and says how many. To be asked of a file that
    /// nobody finished; reads the last fragment, and mostly no more.
    pub fn trim(&mut self, file: &mut (impl Read + Seek)) -> io::Result<usize> {
        let mut forgotten = 0;
        while let Some(last) = self.fragments.last() {
            if is_sound(file, last)? {
                break;
            }
            self.valid_bytes = last.offset;
            self.torn = Some("its last pictures never reached the disk");
            self.fragments.pop();
            forgotten += 1;
        }
        Ok(forgotten)
    }
}

/// Whether each picture is NAL units to its last byte (ISO 14496-15, 4.3.3): what was never written is zeros.
fn is_sound(file: &mut (impl Read + Seek), info: &FragmentInfo) -> io::Result<bool> {
    let bytes = info.bytes as usize;
    if bytes > WHOLE_BYTES_MAX {
        return Ok(false);
    }
    let mut whole = vec![0; bytes];
    file.seek(SeekFrom::Start(info.offset))?;
    file.read_exact(&mut whole)?;
    let (head, mdat) = whole.split_at(info.moof_bytes as usize);
    let Some(data) = mdat.get(8..) else { return Ok(false) };
    let Some(moof) = moof::read(head, data.len() as u64) else { return Ok(false) };
    let mut rest = &data[moof.video.data_at..];
    Ok(moof.video.samples.iter().all(|sample| {
        let (picture, behind) = rest.split_at(sample.bytes as usize);
        rest = behind;
        is_nal_units(picture)
    }))
}

fn is_nal_units(mut picture: &[u8]) -> bool {
    while let Some((length, behind)) = picture.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        match behind.split_at_checked(length) {
            Some((_, next)) if length > 0 => picture = next,
            _ => return false,
        }
    }
    picture.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use std::io::Cursor;

    #[test]
    fn what_never_reached_the_disk_is_forgotten() {
        let units = (0..45).map(|at| picture(at % 15 == 0, at * 66_667, 300));
        let takes = takes(&format(false), &fragments(false, units), 60_000_000);
        let (take, bytes) = &takes[0];
        let last = *take.fragments().last().expect("there are some");
        for lost in [1, 250, last.bytes as usize / 2, last.bytes as usize] {
            let mut bytes = bytes.clone();
            let from = bytes.len() - lost;
            bytes[from..].fill(0);
            // The payload of the last picture is noise: zeros within it are not seen, and cost that picture alone.
            let mut scan = scanned(&bytes);
            scan.trim(&mut Cursor::new(&bytes)).expect("memory reads");
            let is_whole = lost <= 300;
            assert_eq!(scan.fragments.len(), take.fragments().len() - usize::from(!is_whole), "{lost} B lost");
            assert_eq!(scan.valid_bytes, if is_whole { bytes.len() as u64 } else { last.offset });
        }
    }
}
