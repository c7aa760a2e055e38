"""Who looked at a patient's records, as the patient reads it and as the law wants it told."""
