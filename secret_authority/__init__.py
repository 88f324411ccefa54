"""The library, bottom to top: core < contract, clients < repository, access < engine."""
