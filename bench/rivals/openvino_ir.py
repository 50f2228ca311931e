#!/usr/bin/env python3
"""Converts an ONNX file to OpenVINO's own format, in float.  openvino_ir.py MODEL.onnx MODEL.xml"""
import sys

import openvino

openvino.save_model(openvino.Core().read_model(sys.argv[1]), sys.argv[2], compress_to_fp16=False)
