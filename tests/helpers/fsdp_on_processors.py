# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` with FSDP2 on processors, which accelerate keeps for accelerators: started by `accelerate launch`.

accelerate asks whether its processes have accelerators before it spreads a model over them. They are told to have;
all else, from `fully_shard` to what is saved, is what runs on GPUs, over gloo.
"""

from accelerate import PartialState
from accelerate.utils import DistributedType

initialise = PartialState.__init__


def initialise_as_accelerators(self, *args, **kwargs):
    initialise(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


if __name__ == "__main__":
    PartialState.__init__ = initialise_as_accelerators
    import train_hf

    train_hf.main()
