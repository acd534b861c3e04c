"""The data plane: one Envoy process, fed by files, that outlives the manager."""
