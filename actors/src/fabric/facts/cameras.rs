//! The cameras of this node, for those who ask from afar.

use super::{Facts, Outcome};
use crate::camera::desk;
use protocol::cameras::{CameraChange, CameraSheet};
use protocol::link::{VIEWERS_LOOK, may_change_cameras};
use protocol::{CameraId, Identity, codec, limits};

/// Room for the message around them. Cameras that do not fit are counted and left out.
const SHEETS_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - 1024;

impl Facts {
    /// All cameras, or one with its section, and how many do not fit.
    pub fn cameras(&self, camera: Option<&CameraId>) -> (Result<Vec<CameraSheet>, String>, u32) {
        let Some(desk) = &self.desk else { return (Err(self.no_cameras()), 0) };
        let mut sheets = match desk.sheets(camera) {
            Ok(sheets) => sheets,
            Err(why) => return (Err(why), 0),
        };
        let all = sheets.len();
        while codec::encode(&sheets).len() > SHEETS_BYTES_MAX && !sheets.is_empty() {
            sheets.truncate(sheets.len() * 3 / 4);
        }
        let omitted = u32::try_from(all - sheets.len()).unwrap_or(u32::MAX);
        (Ok(sheets), omitted)
    }

    /// Whatever comes of it is on the audit log, also when whoever asked no longer waits.
    pub async fn change_camera(&self, camera: Option<CameraId>, change: CameraChange, by: Identity) -> Outcome {
        let facts = self.clone();
        let changing = tokio::spawn(async move { facts.change_and_tell(camera, change, by).await });
        changing.await.unwrap_or_else(|error| Err(format!("the change failed: {error}")))
    }

    async fn change_and_tell(&self, camera: Option<CameraId>, change: CameraChange, by: Identity) -> Outcome {
        let outcome = match (self.may_change(&by), &self.desk) {
            (Err(why), _) => Err(why),
            (Ok(()), None) => Err(self.no_cameras()),
            (Ok(()), Some(desk)) => desk.change(camera.clone(), change.clone()).await,
        };
        desk::audit(&by, &self.node, camera.as_ref(), &change, &outcome);
        outcome
    }

    /// The relay has asked the same. A relay that was taken over asks in an operator's name at least.
    fn may_change(&self, by: &Identity) -> Result<(), String> {
        if !may_change_cameras(by.role) {
            return Err(VIEWERS_LOOK.to_owned());
        }
        if by.tenant != self.node.tenant {
            return Err(format!("{by} is an operator of another tenant than {}", self.node));
        }
        Ok(())
    }

    fn no_cameras(&self) -> String {
        format!("{} has no cameras; name an edge", self.node)
    }
}
