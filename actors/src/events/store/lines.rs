//! Lines: the record read as timelines: when somebody looked at a camera, when nobody did, and what happened meanwhile.

use super::EventStore;
use crate::events::timeline::{self, Known};
use protocol::admin::EventFilter;
use protocol::limits::TIMELINE_CAMERAS_MAX;
use protocol::timeline::Timeline;
use protocol::{CameraId, NodeName, Timestamp};
use supervision::Gone;

/// Pages of events read to count them in one timeline; where more would be needed, it ends early.
const PAGES_MAX: usize = 20;
const PAGE_EVENTS: u32 = 1000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    pub edge: NodeName,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Up to then the edge has told all, as its telemetry says; `None`: nothing is known but the record.
    pub heard: Option<Timestamp>,
}

impl EventStore {
    /// The cameras of this edge that the record tells of.
    pub async fn watched(&self, edge: &NodeName) -> Result<Vec<CameraId>, Gone> {
        let (tenant, edge) = (self.tenant.clone(), edge.clone());
        self.read(move |file| file.watched((&tenant, &edge), TIMELINE_CAMERAS_MAX)).await
    }

    /// Of this camera, or of each of the edge's.
    pub async fn timelines(&self, lines: &Lines, camera: Option<CameraId>) -> Result<Vec<Timeline>, Gone> {
        let cameras = match camera {
            Some(camera) => vec![camera],
            None => self.watched(&lines.edge).await?,
        };
        let mut timelines = Vec::new();
        for camera in cameras {
            timelines.push(self.timeline(lines, &camera).await?);
        }
        Ok(timelines)
    }

    /// One camera between two moments.
    pub async fn timeline(&self, lines: &Lines, camera: &CameraId) -> Result<Timeline, Gone> {
        let Lines { edge, from, to, heard } = lines.clone();
        let (tenant, of, name) = (self.tenant.clone(), edge.clone(), camera.clone());
        let (spells, accepted) = self
            .read(move |file| Ok((file.spells((&tenant, &of), &name, (from, to))?, file.heard((&tenant, &of))?)))
            .await?;
        let ends = spells.spells.iter().filter_map(|spell| spell.end);
        let through = ends.chain(heard).chain(accepted).max().unwrap_or(from);
        let known = Known { since: spells.since, through };
        let mut intervals = timeline::intervals(from, spells.next.unwrap_or(to).max(from), known, &spells.spells);
        let mut next = timeline::cut(&mut intervals).or(spells.next);
        let (begins, counted) = self.begins(&edge, camera, from, next.unwrap_or(to)).await?;
        if let Some(counted) = counted {
            intervals.retain(|interval| interval.from < counted);
            if let Some(last) = intervals.last_mut() {
                last.to = last.to.min(counted);
            }
            next = Some(counted);
        }
        timeline::count(&mut intervals, &begins);
        Ok(Timeline { edge, camera: camera.clone(), from, to: next.unwrap_or(to), intervals, next })
    }

    /// When the events of this camera began, in order; and up to when these are all, if there are too many to count.
    async fn begins(
        &self,
        edge: &NodeName,
        camera: &CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(Vec<Timestamp>, Option<Timestamp>), Gone> {
        let (camera, limit) = (Some(camera.clone()), Some(PAGE_EVENTS));
        let filter = EventFilter { camera, label: None, from: Some(from), until: Some(to), limit };
        let (mut begins, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.events(filter.clone(), cursor).await?;
            let of_it = page.events.iter().filter(|recorded| recorded.edge == *edge);
            let of_it = of_it.filter(|recorded| !recorded.event.tells_of_coverage());
            begins.extend(of_it.map(|recorded| recorded.event.begin));
            cursor = page.next;
            if cursor.is_none() {
                begins.sort_unstable();
                return Ok((begins, None));
            }
        }
        // Ids begin with the milliseconds of their event's begin.
        let millis = cursor.map_or(0, |id| (id.0 >> 80) as i64);
        let counted =
            Timestamp::from_micros(millis.saturating_mul(1000)).max(from.plus(std::time::Duration::from_millis(1)));
        begins.sort_unstable();
        Ok((begins, Some(counted.min(to))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::{camera_id, edge, entry, event, run};
    use protocol::event::BLIND_LABEL;
    use protocol::timeline::Sight;
    use protocol::{Entry, Event, Evidence, Phase};

    fn at(s: i64) -> Timestamp {
        Timestamp::from_micros(s * 1_000_000)
    }

    fn blind(seq: u64, begin_s: u64, end_s: Option<u64>) -> Entry {
        let phase = if end_s.is_some() { Phase::End } else { Phase::Start };
        let event = Event {
            label: BLIND_LABEL.to_owned(),
            evidence: Evidence::Blind { reason: "dark".to_owned() },
            end: at(end_s.unwrap_or(begin_s) as i64),
            ..event(0, begin_s * 1000, 0, phase)
        };
        Entry { event, accepted: at(1), ..entry(7, seq) }
    }

    fn seen(seq: u64, camera: u8, begin_s: u64) -> Entry {
        Entry { event: event(camera, begin_s * 1000, 0, Phase::Start), accepted: at(1), ..entry(7, seq) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_motion_and_no_coverage_are_two_answers_and_other_tenants_have_others() {
        let (dir, store) = (tempfile::tempdir().expect("a directory"), EventStore::new());
        let root = run(vec![store.child(dir.path().join("events.redb"))]).await;
        let entries = vec![
            blind(1, 100, Some(110)),
            seen(2, 0, 150),
            seen(3, 1, 160),
            blind(4, 200, Some(230)),
            seen(5, 0, 240),
            blind(6, 300, None),
        ];
        store.append(edge("main/edge/yard"), entries).await.expect("recorded");
        let yard: NodeName = "yard".parse().expect("a name");
        assert_eq!(store.watched(&yard).await.expect("answers"), [camera_id(0)]);
        let lines = Lines { edge: yard.clone(), from: at(90), to: at(400), heard: Some(at(350)) };
        let line = store.timeline(&lines, &camera_id(0)).await.expect("answers");
        let told: Vec<_> =
            line.intervals.iter().map(|interval| (interval.from, interval.state, interval.events)).collect();
        let due = [
            (at(90), Sight::Unknown, Some(0)),
            (at(100), Sight::Blind, Some(0)),
            (at(110), Sight::Covered, Some(1)),
            (at(200), Sight::Blind, Some(0)),
            (at(230), Sight::Covered, Some(1)),
            (at(300), Sight::Blind, Some(0)),
            (at(350), Sight::Unknown, Some(0)),
        ];
        assert_eq!((told.as_slice(), line.next), (due.as_slice(), None));
        // One that begins in the middle of blindness knows of it.
        let lines = Lines { from: at(210), to: at(240), ..lines };
        let line = store.timeline(&lines, &camera_id(0)).await.expect("answers");
        assert_eq!(
            line.intervals.iter().map(|interval| interval.state).collect::<Vec<_>>(),
            [Sight::Blind, Sight::Covered]
        );
        let acme = store.for_tenant("acme".parse().expect("a tenant"));
        let line = acme.timeline(&lines, &camera_id(0)).await.expect("answers");
        assert_eq!(line.intervals.iter().map(|interval| interval.state).collect::<Vec<_>>(), [Sight::Unknown]);
        assert_eq!(acme.watched(&yard).await.expect("answers"), []);
        root.stop().await;
    }
}
