"""Making corpora on real simulators: environments, behaviour policies, their trainers and the collector."""
