//! Metrics: names, meanings, the recorder.
