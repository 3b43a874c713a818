//! Layers without their compression.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use anyhow::bail;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// The archive without its compression, which the end of the media type tells.
pub(super) fn unpacked(
    blob: File,
    media_type: &str,
) -> anyhow::Result<Box<dyn Read>> {
    let blob = BufReader::new(blob);
    Ok(match media_type.rsplit(['+', '.']).next() {
        Some("gzip") => Box::new(MultiGzDecoder::new(blob)),
        Some("zstd") => Box::new(Frames::Between(blob)),
        Some("tar") => Box::new(blob),
        _ => bail!("{media_type:?} is no kind of layer that is known here"),
    })
}

/// A zstd file: frames one behind the other, each compressed by itself; some
/// have no data, but what somebody wants to be skipped. See RFC 8878, 3.
enum Frames {
    Between(BufReader<File>),
    Within(Box<StreamingDecoder<BufReader<File>, FrameDecoder>>),
    End,
}

/// What a frame begins with that is to be skipped, but for its last half byte.
const SKIPPABLE: u32 = 0x184D_2A50;

/// How much of what is unpacked already a frame may refer to, in bytes; it is
/// kept in memory. What zstd(1) writes without `--ultra --long` needs less.
const WINDOW_MAX: u64 = 128 << 20;

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            *self = match std::mem::replace(self, Frames::End) {
                Frames::End => return Ok(0),
                Frames::Between(file) => next_frame(file)?,
                Frames::Within(mut frame) => match frame.read(buffer)? {
                    0 if !buffer.is_empty() => {
                        Frames::Between(frame.into_inner())
                    }
                    length => {
                        *self = Frames::Within(frame);
                        return Ok(length);
                    }
                },
            };
        }
    }
}

fn next_frame(mut file: BufReader<File>) -> io::Result<Frames> {
    if file.fill_buf()?.is_empty() {
        return Ok(Frames::End);
    }
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    if u32::from_le_bytes(magic) & !0xf == SKIPPABLE {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length).into();
        io::copy(&mut (&mut file).take(length), &mut io::sink())?;
        return Ok(Frames::Between(file));
    }
    file.seek_relative(-4)?;
    let frame = StreamingDecoder::new_with_max_window_size(file, WINDOW_MAX);
    let frame = frame.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Frames::Within(Box::new(frame)))
}
