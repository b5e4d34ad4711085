"""The only composition root: settings, build, lifespan, migrations."""
