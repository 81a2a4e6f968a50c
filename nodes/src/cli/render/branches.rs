//! Branches: the actors of a node as lines that hang below it. Pure.
//!
//!   paths ─▶ grow ─▶ prune ─▶ ├─ cameras
//!                             │  └─ door

use protocol::admin::{ActorStatus, NodeSnapshot};

/// Levels drawn; what lies deeper stays in its parent's name. An edge could send a path without end.
const LEVELS_MAX: usize = 12;

/// One line of a tree.
pub(in super::super) struct Limb<'a> {
    /// The knees before its name: `│  └─ `.
    pub indent: String,
    /// The same for a line of text below it.
    pub hanging: String,
    pub name: &'a str,
    /// `None` for a name on the way that is no actor itself.
    pub status: Option<&'a ActorStatus>,
}

/// What is known of a node's top, and the lines below it.
pub(in super::super) struct Grown<'a> {
    pub top: Option<&'a ActorStatus>,
    pub limbs: Vec<Limb<'a>>,
}

/// The actors that `keep` wants, and those on the way to them.
pub(in super::super) fn grow<'a>(node: &'a NodeSnapshot, keep: impl Fn(&ActorStatus) -> bool) -> Grown<'a> {
    let mut trunk = Branch::default();
    for actor in &node.actors {
        trunk.grow(actor.path.splitn(LEVELS_MAX, '/'), actor);
    }
    // Every path begins with the node's name; if one does not, it is drawn as it is.
    let name = node.node.name.as_str();
    let own = trunk.below.iter().position(|branch| branch.name == name).map(|index| trunk.below.remove(index));
    let mut root = own.unwrap_or_default();
    root.below.append(&mut trunk.below);
    root.prune(&keep);
    let mut limbs = Vec::new();
    root.flatten("", &mut limbs);
    Grown { top: root.status, limbs }
}

/// One name of a path, what is known of it, and what lies below.
#[derive(Default)]
struct Branch<'a> {
    name: &'a str,
    status: Option<&'a ActorStatus>,
    below: Vec<Branch<'a>>,
}

impl<'a> Branch<'a> {
    fn grow(&mut self, mut path: impl Iterator<Item = &'a str>, status: &'a ActorStatus) {
        let Some(name) = path.next() else {
            self.status = Some(status);
            return;
        };
        let known = self.below.iter().position(|branch| branch.name == name);
        let index = known.unwrap_or_else(|| {
            self.below.push(Branch { name, ..Self::default() });
            self.below.len() - 1
        });
        self.below[index].grow(path, status);
    }

    /// Whether anything of it is left.
    fn prune(&mut self, keep: &impl Fn(&ActorStatus) -> bool) -> bool {
        self.below.retain_mut(|branch| branch.prune(keep));
        !self.below.is_empty() || self.status.is_some_and(keep)
    }

    fn flatten(self: &Branch<'a>, indent: &str, limbs: &mut Vec<Limb<'a>>) {
        let last = self.below.len().saturating_sub(1);
        for (index, child) in self.below.iter().enumerate() {
            let (knee, bar) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let deeper = format!("{indent}{bar}");
            let hanging = if child.below.is_empty() { deeper.clone() } else { format!("{deeper}│  ") };
            let indent = format!("{indent}{knee}");
            limbs.push(Limb { indent, hanging, name: child.name, status: child.status });
            child.flatten(&deeper, limbs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{actor, snapshot};
    use super::*;

    fn check(down: &[&str], expected: &[&str]) {
        let mut actors = ["yard", "yard/cameras", "yard/cameras/door", "yard/cameras/gate", "yard/http"].map(actor);
        for actor in &mut actors {
            actor.state = if down.contains(&actor.path.as_str()) { "parked" } else { "running" }.to_owned();
        }
        let node = snapshot("main/edge/yard", actors.to_vec());
        let grown = grow(&node, |status| status.state != "running");
        let lines: Vec<String> = grown.limbs.iter().map(|limb| format!("{}{}", limb.indent, limb.name)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_kept_keeps_its_way_to_the_top() {
        check(&["yard/cameras/gate"], &["└─ cameras", "   └─ gate"]);
        check(&["yard/cameras/door", "yard/http"], &["├─ cameras", "│  └─ door", "└─ http"]);
        check(&["yard/cameras"], &["└─ cameras"]);
        check(&[], &[]);
    }
}
