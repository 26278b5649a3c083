"""Phase diagrams: how often a solver recovers the model, over (m, G) or (m, k), beside what the theory says.

``diagram`` says what is swept, ``theory`` what is expected, ``draws`` makes the trials, ``solvers`` solves them, ``sweep``
goes over the diagram and keeps what is finished, ``rates`` and ``results`` are what comes out.
"""
