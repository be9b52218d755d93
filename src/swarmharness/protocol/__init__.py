"""The wire format: how typed messages become bytes and how hostile bytes become messages or errors; all pure."""
