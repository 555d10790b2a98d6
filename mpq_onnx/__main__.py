"""python -m mpq_onnx"""

from mpq_onnx.cli import main

main()
