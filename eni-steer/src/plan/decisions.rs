//! What was decided, case by case.
