//! What each refusal says.
