"""A job of five parts on the ranks of torchrun, begun twice; what each rank saw goes to rank<r>.json beside the job."""

import sys
from pathlib import Path

from shared_utils import UserError, distributed, files, work


def main(out: Path) -> None:
    computed, processes = [], []

    def compute(name):
        computed.append(name)
        # A part that waited for the other rank would wait for ever: ranks compute other parts, and not as many.
        distributed.barrier()
        processes.append(distributed.gather_objects(distributed.world_size()))
        return {"value": [float(name)]}

    with distributed.process_group():
        with work.begin(out, {"a": 1}) as job:
            job.finish([str(number) for number in range(5)], compute)
            job.complete()
        distributed.barrier()
        refused = ""
        try:
            with work.begin(out, {"a": 1}):
                pass
        except UserError as error:
            refused = str(error)
        seen = {"computed": computed, "refused": refused, "processes": processes, "ranks": distributed.world_size()}
        files.write_json(seen, out.parent / f"rank{distributed.rank()}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
