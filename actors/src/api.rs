//! What people and programs ask a node.
