// The one source of the target whose precompiled header the others reuse.
