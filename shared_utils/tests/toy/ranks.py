"""A job of five parts on the ranks of torchrun, begun twice; what each rank saw goes to rank<r>.json beside the job."""

import sys
from pathlib import Path

from shared_utils import UserError, distributed, files, work


def main(out: Path) -> None:
    computed = []

    def compute(name):
        computed.append(name)
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
        files.write_json({"computed": computed, "refused": refused}, out.parent / f"rank{distributed.rank()}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
